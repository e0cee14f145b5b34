"""Renders and lints charts with Helm's own library.

  helm.py CHART RELEASE [VALUES.json]   the rendered objects, as JSON {template: text}, after `helm dependency build` and `helm lint --strict`
"""
import json
import os
import sys

import helm_python as helm

chart_path, release = sys.argv[1:3]
values = json.load(open(sys.argv[3])) if len(sys.argv) > 3 else {}
with helm.Chart.load(chart_path) as chart:
    has_dependencies = bool(chart.metadata.get("dependencies"))
if has_dependencies and not os.path.isdir(os.path.join(chart_path, "charts")):
    helm.dependency_build(chart_path)
report = helm.lint(chart_path, values, strict=True, kube_version="v1.31.0")
with helm.Chart.load(chart_path) as chart:
    # As `helm template` does.
    chart.validate_schema(values)
    rendered = chart.render(values, name=release, namespace="shop")
json.dump({"lint": report, "rendered": rendered}, sys.stdout)
