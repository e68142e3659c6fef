//! Asking for a secret on the terminal without showing it.

use std::{
    fs::File,
    io::{self, Read},
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{exit::Exit, failure::Failure, output};

/// Asks for a line that is not shown.
pub fn ask(question: &str) -> Result<String, Failure> {
    let unusable = |error: io::Error| {
        Failure::usage(format!("there is no terminal to ask for the passphrase on: {error}"))
            .with_hint("set HOLDFAST_PASSWORD_FILE to a file that holds it, or HOLDFAST_PASSWORD_COMMAND")
    };
    // The terminal itself: standard input may be a pipe.
    let terminal = File::open("/dev/tty").map_err(unusable)?;
    let hidden = Hidden::new(&terminal).map_err(unusable)?;
    output::ask(question);
    let typed = read_secret(&mut &terminal);
    drop(hidden);
    output::tell(output::Tone::Plain, "");
    match typed {
        Ok(Some(secret)) => Ok(secret),
        Ok(None) => Err(Failure::new(Exit::Interrupted, "interrupted; nothing was changed")),
        Err(error) => Err(Failure::new(Exit::Error, format!("cannot read the passphrase: {error}"))),
    }
}

/// Reads up to the end of the line. None when the person gives up (Ctrl-C, Ctrl-D on an empty line, Ctrl-\).
fn read_secret(reader: &mut impl Read) -> io::Result<Option<String>> {
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const BACKSPACE: u8 = 0x08;
    const ERASE_LINE: u8 = 0x15;
    const QUIT: u8 = 0x1c;
    const DELETE: u8 = 0x7f;
    let mut typed: Vec<u8> = Vec::new();
    let mut byte = [0];
    while reader.read(&mut byte)? == 1 {
        match byte[0] {
            b'\n' | b'\r' => break,
            END if typed.is_empty() => return Ok(None),
            END => break,
            INTERRUPT | QUIT => return Ok(None),
            ERASE_LINE => typed.clear(),
            BACKSPACE | DELETE => {
                // A character is its first byte and the continuation bytes (10xxxxxx) after it.
                while typed.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            byte => typed.push(byte),
        }
    }
    String::from_utf8(typed)
        .map(Some)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// A terminal that shows nothing and hands over each key, also Ctrl-C: a signal would end the program and leave the
/// terminal mute. Restored when dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        tcsetattr(self.terminal, OptionalActions::Now, &self.before).ok();
    }
}

#[cfg(test)]
mod tests;
