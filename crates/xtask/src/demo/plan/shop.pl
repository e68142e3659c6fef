#!/usr/bin/perl
# A part of the shop. Records are numbers in order; each is durable in the database before it is in the application, and there
# before it is at the web server, which makes them.
#
#   serve ROLE            database, application or web, for ever
#   last                  the last record here
#   found                 the last record that was found when the service began last
#   check                 whether every record is in its place
#   grows                 waits until records come
#   address NAME          sets the variable NAME to the guest's address, for the plan
#   upstream NAME         remembers the variable NAME as the address of who is asked first
use strict;
use warnings;
use IO::Handle;
use IO::Socket::INET;

my ($CHAIN, $FOUND, $UPSTREAM) = ("/data/chain", "/data/found", "/data/upstream");
my $RECORD_BYTES = 9;
my %PORTS = (database => 5432, application => 8080, web => 80);
my %ASKS = (application => "database", web => "application");

my %commands = (
    serve => \&serve,
    last => sub { print last_record(), "\n" },
    found => sub { print read_file($FOUND), "\n" },
    check => \&check,
    grows => \&grows,
    address => \&address,
    upstream => sub { write_file($UPSTREAM, $ENV{"HOLDFAST_VARIABLE_" . uc shift} // die "no such variable\n") },
);
my $action = $commands{ shift // "" } or die "shop: unknown command\n";
$action->(@ARGV);

sub serve {
    my $role = shift;
    # The guest's own workload would only keep the machine busy.
    write_file("/run/workload/paused", "");
    write_file("/run/workload/interval-ms", 1000);
    truncate $CHAIN, last_record() * $RECORD_BYTES if -e $CHAIN;
    write_file($FOUND, last_record());
    if ($role eq "web" && !fork) {
        while (1) {
            select undef, undef, undef, 0.1;
            take($role, last_record() + 1);
        }
    }
    my $server = IO::Socket::INET->new(LocalPort => $PORTS{$role}, Listen => 16, ReuseAddr => 1) or die "no port: $!";
    while (1) {
        my $client = $server->accept or next;
        my $asked = line_of($client) // next;
        take($role, $asked) if $role ne "web" && $asked =~ /^\d+$/;
        print $client last_record(), "\n";
    }
}

# Makes a record durable here, once it is with whoever is to have it first.
sub take {
    my ($role, $number) = @_;
    return if $number != last_record() + 1;
    return if $ASKS{$role} && (ask($PORTS{$ASKS{$role}}, $number) // 0) < $number;
    open my $chain, ">>", $CHAIN or die "$CHAIN: $!";
    print $chain sprintf("%08d\n", $number);
    $chain->flush && $chain->sync or die "a record could not be made durable: $!";
}

sub ask {
    my ($port, $number) = @_;
    my $address = read_file($UPSTREAM) or return;
    my $server = IO::Socket::INET->new(PeerAddr => $address, PeerPort => $port, Timeout => 2) or return;
    print $server "$number\n";
    my $last = line_of($server) // "";
    return $last =~ /^\d+$/ ? $last : undef;
}

# A line from a peer, who may take a while or go away.
sub line_of {
    my $peer = shift;
    local $SIG{PIPE} = "IGNORE";
    my $line = eval {
        local $SIG{ALRM} = sub { die "nothing comes\n" };
        alarm 5;
        my $read = <$peer>;
        alarm 0;
        $read;
    };
    alarm 0;
    chomp $line if defined $line;
    return $line;
}

sub check {
    open my $chain, "<", $CHAIN or exit 0;
    my $number = 0;
    while (my $line = <$chain>) {
        $number++;
        $line eq sprintf("%08d\n", $number) or die "record $number is $line";
    }
    print "records 1 to $number\n";
}

sub grows {
    my $before = last_record();
    for (1 .. 300) {
        if (last_record() >= $before + 3) {
            print "records come: ", last_record(), "\n";
            return;
        }
        select undef, undef, undef, 0.2;
    }
    die "no record comes after $before\n";
}

sub address {
    my $name = shift;
    my ($address) = `/usr/bin/ip -4 address show dev eth0` =~ /inet ([0-9.]+)/ or die "there is no address\n";
    print qq({"variables": {"$name": "$address"}}\n);
}

sub last_record { return int((-s $CHAIN || 0) / $RECORD_BYTES) }

sub read_file {
    open my $file, "<", shift or return "";
    my $line = <$file> // "";
    chomp $line;
    return $line;
}

sub write_file {
    my ($path, $text) = @_;
    open my $file, ">", "$path.new" or die "$path: $!";
    print $file "$text\n";
    $file->flush && $file->sync;
    close $file;
    rename "$path.new", $path or die "$path: $!";
}
