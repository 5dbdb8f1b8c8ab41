// Package churn tests the whole program under changes: one CPU looks up sources in the maps of the
// attached filter, while another drives the real daemon, which is killed and restarted in between.
package churn

//go:generate go tool bpf2go -target amd64,arm64 -type judged -type tally -type wrong -type class -type settled check bpf/check.c -- -O2 -Wall -Werror -mcpu=v3 -I../.. -I../../bpf
