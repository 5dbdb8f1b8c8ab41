package logs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/report"
)

// counting is a daemon that only counts.
type counting struct{ events int }

func (c *counting) Send(_ context.Context, _, _ string, b *report.Batch) (report.Taken, error) {
	c.events += b.Len()
	return report.Taken{Accepted: b.Len()}, nil
}

func (c *counting) Logs(context.Context, []report.LogState) error { return nil }

// BenchmarkLines reads, matches and encodes lines.
func BenchmarkLines(b *testing.B) {
	const from = "from 198.51.%d.%d port 4711"
	for format, lines := range map[string][]string{
		"sshd": {
			"Failed password for invalid user admin " + from + " ssh2", "Failed password for root " + from + " ssh2",
			"Invalid user admin " + from, "Failed password for invalid user admin " + from + " ssh2",
			"Connection closed by authenticating user root 198.51.%d.%d port 4711 [preauth]",
			"Accepted publickey for deploy " + from + " ssh2: ED25519 SHA256:abcdefghijkl",
		},
		"nginx-access": {`198.51.%d.%d - - [28/Nov/2026:10:00:00 +0000] "GET /articles/1?page=1 HTTP/1.1" 200 4711 ` +
			`"https://www.example.com/" "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101"`},
	} {
		b.Run(format, func(b *testing.B) {
			dir := b.TempDir()
			path := filepath.Join(dir, "log")
			var text []byte
			for n := range b.N {
				if format == "sshd" {
					text = fmt.Appendf(text, "Nov 28 10:00:%02d web1 sshd[%d]: ", n/20%60, n%30000)
				}
				text = append(fmt.Appendf(text, lines[n%len(lines)], n/200%200, n%200), '\n')
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				b.Fatal(err)
			}
			l := config.LogSource{Name: "x", File: path, Format: format, Rule: "y"}
			reader, err := l.Reader()
			if err != nil {
				b.Fatal(err)
			}
			w := &worker{
				log: l, reader: reader, source: newFiles(path, position{}, false), proxies: newProxies(nil),
				store: newStore(dir, "x"), sender: &counting{}, logger: slog.New(slog.DiscardHandler), now: time.Now,
				saves: true,
			}
			b.ReportAllocs()
			b.ResetTimer()
			for w.counts.Lines < b.N {
				if l, st := w.source.next(); st != got || w.read(l) {
					w.flush(b.Context())
				}
			}
		})
	}
}
