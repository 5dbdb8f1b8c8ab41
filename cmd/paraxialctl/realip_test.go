package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRealip: it prints the client without a daemon.
func TestRealip(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--peer", "192.0.2.7", "--proxies", "192.0.2.0/24", "X-Forwarded-For: 198.51.100.9"},
			"198.51.100.9\n"},
		{[]string{"X-Forwarded-For:198.51.100.9, 10.0.0.1", "--peer=192.0.2.7", "--proxies=192.0.2.7",
			"--proxies", "10.0.0.0/8"}, "198.51.100.9\n"},
		{[]string{"--peer", "203.0.113.7", "--proxies", "192.0.2.0/24", "X-Forwarded-For: 198.51.100.9"},
			"203.0.113.7\n"},
		{[]string{"--peer", "192.0.2.7", "--proxies", "192.0.2.0/24"}, "nobody\n"},
		{[]string{"--peer", "unix", "X-Real-IP: 198.51.100.9"}, "nobody\n"},
		{[]string{"--peer", "unix", "--proxies", "unix", "X-Real-IP: 198.51.100.9"}, "198.51.100.9\n"},
		{[]string{"--peer", "::1", "--proxies", "::1", "--clients", "10.0.0.0/8", "X-Real-IP: 10.0.0.1"}, "10.0.0.1\n"},
		{[]string{"--peer", "::1", "--proxies", "::1", "--header", "X-Mine", "X-Mine: 198.51.100.9",
			"X-Real-IP: 203.0.113.7"}, "198.51.100.9\n"},
		{[]string{"--trust-peer", "X-Forwarded-For: 198.51.100.9, x"}, "198.51.100.9\n"},
		{[]string{"--peer", "::1", "-o", "json"}, "{\n  \"client\": \"::1\"\n}\n"},
		{[]string{"--peer", "::1", "--proxies", "::/0", "-o", "json"}, "{\n  \"client\": null\n}\n"},
	} {
		got := invoke(t.Context(), "/nonexistent", "", append([]string{"realip"}, tt.args...)...)
		if diff := cmp.Diff(outcome{exitDone, tt.want, ""}, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", tt.args, diff)
		}
	}
}
