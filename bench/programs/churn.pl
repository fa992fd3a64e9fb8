# Hash and string churn. Usage: perl churn.pl STEPS
use strict;
use warnings;

my $steps = shift @ARGV;
my (%seen, @recent);
my $state = 42;
for my $step (1 .. $steps) {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    my $key  = "key-" . ($state >> 15);
    my $text = join ',', map { $state ^ $_ } 1 .. 4;
    push @{ $seen{$key} }, $text;
    push @recent, $key;
    delete $seen{ shift @recent } if @recent > 20_000;
}
print scalar(keys %seen), "\n";
