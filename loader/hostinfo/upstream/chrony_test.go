package upstream

import (
	"encoding/hex"
	"fmt"
	"net"
	"testing"
)

// The answers of chronyd 4.3 with a reference clock, an address, this host, and a peer of IPv6,
// without the sequence number.
func chronyAnswers() map[string]string {
	const rest = "00000000" + "ffffffff" + "000000000000000000000000"
	header := func(command, reply int) string {
		return fmt.Sprintf("06020000%04x%04x00000000000000000000000000000000"+"00000000", command, reply)
	}
	source := func(addr, family, mode string) string {
		return header(chronySource, chronySourceAnswer) + addr + family + "0000" + "0006" + "0000" + "0001" + mode +
			rest
	}
	return map[string]string{
		"14/0": header(chronySources, chronySourcesAnswer) + "00000005",
		"15/0": source("53484d30000000000000000000000000", "0001", "0002"),
		"15/1": source("cb007109000000000000000000000000", "0001", "0000"),
		"15/2": source("00000000000000000000000000000001", "0002", "0000"),
		"15/3": source("20010db8000000000000000000000007", "0002", "0001"),
		"15/4": source("00000001000000000000000000000000", "0003", "0000"), // a name
	}
}

// chronyd answers requests as chronyd does, with an answer that change may spoil.
func chronyd(t *testing.T, change func([]byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		request := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(request)
			if err != nil {
				return
			}
			text := chronyAnswers()[fmt.Sprintf("%d/%d", request[5], request[23])]
			answer, err := hex.DecodeString(text)
			if err != nil || len(answer) != n {
				continue // chronyd drops a request that is shorter than its answer
			}
			copy(answer[16:20], request[8:12])
			conn.WriteTo(change(answer), from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestChrony(t *testing.T) {
	servers, err := chronyAt(chronyd(t, func(b []byte) []byte { return b }))
	want := "[{203.0.113.9 a time server of this host (chronyd uses it)} " +
		"{2001:db8::7 a time server of this host (chronyd uses it)}]"
	if got := fmt.Sprint(servers); err != nil || got != want {
		t.Errorf("servers %s, %v, want %s", got, err, want)
	}
}

// An answer that is not understood is an error.
func TestChronyMisunderstood(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"too short":       func(b []byte) []byte { return b[:len(b)-1] },
		"too long":        func(b []byte) []byte { return append(b, 0) },
		"empty":           func([]byte) []byte { return nil },
		"other version":   func(b []byte) []byte { b[0]++; return b },
		"a request":       func(b []byte) []byte { b[1] = chronyRequest; return b },
		"other answer":    func(b []byte) []byte { b[7]++; return b },
		"another request": func(b []byte) []byte { b[19]++; return b },
	} {
		if servers, err := chronyAt(chronyd(t, change)); err == nil {
			t.Errorf("%s: servers %v", name, servers)
		}
	}
	if servers, err := chronyAt("127.0.0.1:1"); err == nil {
		t.Errorf("without chronyd: %v", servers)
	}
}
