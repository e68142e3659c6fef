//! Images over NBD, for whatever program speaks it. The server shows them for as long as this process takes its answer.

use std::{path::PathBuf, time::Duration};

use api::{ClientError, NbdRequest, ShownOverNbd};
use clap::Args;
use tokio::time::sleep;

use super::image::{ImageArgument, NamedImage};
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    location,
    output::{Tone, tell},
    signals::Signals,
};

/// How often a server that has gone is looked for.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Shows an image over NBD.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Nbd {
    #[command(flatten)]
    image: ImageArgument,
    /// The unix socket; one in the site's data directory where it is left out.
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    socket: Option<PathBuf>,
    /// The TCP port instead; port 0 takes one that is free. On 127.0.0.1 every user of this host can read the disks; elsewhere
    /// there must be TLS.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The directory with server-cert.pem, server-key.pem and ca-cert.pem, as QEMU and nbdkit have them: then there is TLS, and
    /// only clients with a certificate of that authority are let in.
    #[arg(long, value_name = "DIR", requires = "listen")]
    tls_certificates: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  holdfast nbd point:web-1/latest
  holdfast nbd point:web-1/latest/vda --socket /run/vda.sock &
  qemu-img convert -p -O qcow2 'nbd+unix:///vda?socket=/run/vda.sock' vda.qcow2
  nbdcopy 'nbd+unix:///vda?socket=/run/vda.sock' vda.raw
  holdfast nbd file:/srv/old.vmdk --listen 192.0.2.7:10809 --tls-certificates /etc/pki/nbd";

impl Nbd {
    /// Shows it, and returns when it is told to end.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let NamedImage { reference, from_copy } = self.image.checked()?;
        let mut request = NbdRequest {
            reference,
            from_copy,
            socket: location::absolute_if_given(self.socket.as_deref())?,
            listen: self.listen,
            tls_certificates: location::absolute_if_given(self.tls_certificates.as_deref())?,
        };
        let cannot_listen = |error| Failure::new(Exit::Error, format!("cannot listen for signals: {error}"));
        let mut signals = Signals::new().map_err(cannot_listen)?;
        let mut shown = context.client.show_over_nbd(&request).await?;
        context.output.one(&shown.view)?;
        context.note("the disks are shown until Ctrl-C");
        // After a restart of the server whoever reads finds the same disks in the same place.
        request.reference.clone_from(&shown.view.reference);
        request.socket.clone_from(&shown.view.socket);
        request.listen.clone_from(&shown.view.listen);
        loop {
            tokio::select! {
                () = signals.next() => return Ok(()),
                () = shown.ended() => {}
            }
            tell(Tone::Warning, "the server has gone: nothing can be read until it is back");
            shown = tokio::select! {
                () = signals.next() => return Ok(()),
                again = again(context, &request) => again?,
            };
            context.note("the server is back, and the disks are shown again");
        }
    }
}

/// Asks until there is a server that answers.
async fn again(context: &Context, request: &NbdRequest) -> Result<ShownOverNbd, Failure> {
    loop {
        match context.client.show_over_nbd(request).await {
            Err(ClientError::NoServer { .. } | ClientError::Broken(_)) => sleep(RETRY_INTERVAL).await,
            answer => return Ok(answer?),
        }
    }
}
