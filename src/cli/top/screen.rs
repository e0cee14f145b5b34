//! A terminal that is taken for a while, and given back however it ends.

use std::io::{self, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::{execute, queue};

use super::{ask, parse, view};
use crate::admin::status::document::Status;
use crate::cli::output::Failure;
use crate::pipeline::serve;

/// Where the size of the terminal cannot be had.
const COLUMNS_AND_ROWS: (u16, u16) = (80, 24);

/// The other screen of the terminal. Dropped, the terminal is as it was, whatever the reason.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(Self)
    }

    /// Draws over what was drawn before, without clearing it first, which would flicker.
    fn draw(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, MoveTo(0, 0))?;
        for (index, line) in text.lines().enumerate() {
            if index > 0 {
                write!(out, "\r\n")?;
            }
            write!(out, "{line}")?;
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    }
}

/// Shows the status, and the next one, until Ctrl-C. A gate that does not answer is asked again: it may be restarting.
pub(super) async fn follow(admin: &str, first: Status, every: Duration) -> Result<(), Failure> {
    let told = serve::told_to_stop();
    tokio::pin!(told);
    // Listened for before the screen is taken, so that it is given back.
    tokio::select! {
        biased;
        () = &mut told => return Ok(()),
        () = std::future::ready(()) => {}
    }
    let screen = Screen::take()?;
    let (mut status, mut trouble) = (first, None);
    loop {
        let (columns, rows) = terminal::size().unwrap_or(COLUMNS_AND_ROWS);
        let look = view::Look {
            columns: columns.into(),
            rows: rows.into(),
            colours: std::env::var_os("NO_COLOR").is_none(),
            trouble: trouble.as_deref(),
        };
        screen.draw(&view::report(&status, &look))?;
        let next = async {
            tokio::time::sleep(every).await;
            ask::status(admin).await.and_then(|body| parse(admin, &body))
        };
        tokio::select! {
            () = &mut told => return Ok(()),
            next = next => match next {
                Ok(next) => (status, trouble) = (next, None),
                Err(failure) => trouble = Some(failure.to_string()),
            },
        }
    }
}
