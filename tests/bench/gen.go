package main

//go:generate go tool bpf2go -target amd64,arm64 -type reason shipped bpf/bench.c -- -O2 -Wall -Werror -mcpu=v3 -I../.. -I../../bpf
//go:generate go tool bpf2go -target amd64,arm64 -type reason floor bpf/bench.c -- -O2 -Wall -Werror -mcpu=v3 -DFLOOR -I../.. -I../../bpf
//go:generate go tool bpf2go -target amd64,arm64 naive bpf/bench.c -- -O2 -Wall -Werror -mcpu=v3 -DNAIVE -I../.. -I../../bpf
