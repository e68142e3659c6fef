//! Runbooks.

use std::{collections::BTreeMap, path::PathBuf};

use api::{CreateRunbook, EditRunbook, TestRunbook};
use clap::{Args, Subcommand};

use crate::{context::Context, document, failure::Failure, wait::WaitArguments};

/// What can be done with runbooks.
#[derive(Debug, Subcommand)]
pub enum RunbookCommand {
    /// Creates a runbook from a document: a program, a request or a playbook, with parameters.
    #[command(after_long_help = CREATE_EXAMPLES)]
    Create(Create),
    /// Lists runbooks.
    #[command(visible_alias = "ls", after_long_help = "Example:\n  holdfast runbook list")]
    List,
    /// Shows a runbook: its parameters, and the document as it was written.
    #[command(after_long_help = "Example:\n  holdfast runbook show dns-switch")]
    Show(Show),
    /// Puts another document in the place of a runbook's.
    #[command(after_long_help = "Example:\n  holdfast runbook edit dns-switch dns-switch.toml")]
    Edit(Edit),
    /// Runs a runbook once, with a context of no plan.
    ///
    /// It really runs. A runbook that looks at DryRun in its context can be told to change nothing with --dry-run.
    #[command(after_long_help = TEST_EXAMPLES)]
    Test(Test),
    /// Forgets a runbook. A plan that uses it fails where it does.
    #[command(after_long_help = "Example:\n  holdfast runbook delete dns-switch")]
    Delete(Show),
}

const CREATE_EXAMPLES: &str = "\
Example:
  holdfast runbook create dns-switch dns-switch.toml

A document:
  version = 1
  description = \"Points a name at a site\"
  script = { command = [\"/usr/local/sbin/dns-switch\", \"{{name}}\", \"--ttl={{ttl}}\"] }
  timeout_seconds = 60

  [parameters.name]
  description = \"The name\"
  [parameters.ttl]
  default = \"30\"

In place of script: guest = { vm = \"{{vm}}\", command = […] }, http = { url = \"https://…\" },
or ansible = { playbook = \"/etc/holdfast/site.yml\" }.";

const TEST_EXAMPLES: &str = "\
Example:
  holdfast runbook test dns-switch --parameter name=shop.example.org --dry-run";

/// Creates a runbook.
#[derive(Debug, Args)]
pub struct Create {
    /// The runbook's name.
    name: String,
    /// The document; - reads it from standard input.
    document: PathBuf,
}

/// Puts another document in the place of a runbook's.
#[derive(Debug, Args)]
pub struct Edit {
    /// The runbook.
    name: String,
    /// The document; - reads it from standard input.
    document: PathBuf,
}

/// Names a runbook.
#[derive(Debug, Args)]
pub struct Show {
    /// The runbook.
    name: String,
}

/// Runs a runbook once.
#[derive(Debug, Args)]
pub struct Test {
    /// The runbook.
    name: String,
    /// The value of a parameter; may be given again for another.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    parameter: Vec<(String, String)>,
    /// Tell it to change nothing: its context says DryRun. Whether it heeds that is its own affair.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArguments,
}

impl RunbookCommand {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let client = &context.client;
        match self {
            Self::Create(Create { name, document }) => {
                let request = CreateRunbook { name, document: document::read(&document)? };
                context.output.one(&client.create_runbook(&request).await?)
            }
            Self::List => {
                let create = context.command("runbook create NAME DOCUMENT");
                context
                    .output
                    .list(&client.runbooks().await?, &format!("no runbooks yet; make one: {create}"))
            }
            Self::Show(Show { name }) => context.output.one(&client.runbook(&name).await?),
            Self::Edit(Edit { name, document }) => {
                let request = EditRunbook { document: document::read(&document)? };
                context.output.one(&client.edit_runbook(&name, &request).await?)
            }
            Self::Test(test) => test.run(context).await,
            Self::Delete(Show { name }) => {
                client.runbook(&name).await?;
                context
                    .confirm(&format!("Forget the runbook {name}? Plans that use it fail where they do."))?;
                client.delete_runbook(&name).await?;
                context.note(&format!("the runbook {name} is forgotten"));
                Ok(())
            }
        }
    }
}

impl Test {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let parameters: BTreeMap<_, _> = self.parameter.into_iter().collect();
        let request = TestRunbook { parameters, dry_run: self.dry_run };
        let job = context.client.test_runbook(&self.name, &request).await?;
        self.wait.finish(context, &job).await
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
