"""Orders, as a shop would send them: some fifty a second, every twentieth with something wrong with it.

It writes to the gate by the Kinesis API's PutRecords, with nothing but Python's own library, so that the image needs no packages.
An AWS SDK does the same when AWS_ENDPOINT_URL_KINESIS is set. `producer.py N` ends after N requests.
"""
import base64
import datetime
import itertools
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:4570")
HEADERS = {
    "Content-Type": "application/x-amz-json-1.1",
    "X-Amz-Target": "Kinesis_20131202.PutRecords",
}
RECORDS_PER_REQUEST = 25
PAUSE_SECONDS = 0.5


def order():
    """One order that fulfils its contract (rules/orders/order.placed.yaml)."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    skus = random.sample(["BOOK-42", "CARD-7", "MUG-3", "LAMP-11"], random.randint(1, 3))
    lines = [{"sku": sku, "quantity": random.randint(1, 3), "unitPriceMinor": random.randint(200, 4000)} for sku in skus]
    total = sum(line["quantity"] * line["unitPriceMinor"] for line in lines) + 490
    order_id = f"O-{random.randint(20000, 99999)}"
    data = {
        "orderId": order_id,
        "customerId": f"C-{random.randint(1000, 9999)}",
        "email": "ada@example.com",
        "channel": random.choices(["web", "app", "store", "phone"], [62, 30, 6, 2])[0],
        "currency": random.choice(["EUR", "GBP", "SEK"]),
        "lines": lines,
        "shippingMinor": 490,
        "discountMinor": 0,
        "totalMinor": total,
        "placedAt": now,
        "shipTo": {"name": "Ada Lovelace", "street": "Unter den Linden 1", "city": "Berlin", "postalCode": "10117", "country": "DE"},
    }
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/shop/eu",
        "type": "order.placed",
        "subject": order_id,
        "time": now,
        "datacontenttype": "application/json",
        "data": data,
    }


def spoilt(event):
    """What producers do wrong."""
    data = event["data"]
    random.choice(
        [
            lambda: data.update(totalMinor=data["totalMinor"] + 1),
            lambda: data.update(currency="EURO"),
            lambda: data["shipTo"].update(country="Germany"),
            lambda: data.pop("customerId"),
            lambda: data.update(channel="fax"),
        ]
    )()
    return event


def put(events):
    records = [
        {
            "Data": base64.b64encode(json.dumps(event).encode()).decode(),
            "PartitionKey": event["data"]["orderId"],
        }
        for event in events
    ]
    body = json.dumps({"StreamName": "orders-events", "Records": records}).encode()
    with urllib.request.urlopen(urllib.request.Request(ENDPOINT, body, HEADERS), timeout=60) as answer:
        failed = json.load(answer)["FailedRecordCount"]
    if failed:
        print(f"{failed} of {len(records)} records were not settled", file=sys.stderr)


def main():
    requests = range(int(sys.argv[1])) if len(sys.argv) > 1 else itertools.count()
    for number in requests:
        events = [order() for _ in range(RECORDS_PER_REQUEST)]
        try:
            put([spoilt(event) if random.random() < 0.05 else event for event in events])
        except (urllib.error.URLError, OSError) as error:
            # A producer of your own would send these again; here, new ones come.
            print(f"the gate does not answer: {error}", file=sys.stderr)
        if number % 20 == 0:
            print(f"{(number + 1) * RECORDS_PER_REQUEST} orders sent")
        time.sleep(PAUSE_SECONDS)


main()
