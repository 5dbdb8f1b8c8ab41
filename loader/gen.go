package loader

//go:generate go tool bpf2go -target amd64,arm64 -type reason -type verdict -type limit -type allow -type counter -type drop_event -type track_control -type packet_sample -type lpm_v4 -type lpm_v6 -type tunnel_kinds -type essential_buckets plain ../bpf/paraxial.c -- -O2 -Wall -Werror -mcpu=v3 -I..
//go:generate go tool bpf2go -target amd64,arm64 frags ../bpf/paraxial.c -- -O2 -Wall -Werror -mcpu=v3 -DFRAGS -I..
