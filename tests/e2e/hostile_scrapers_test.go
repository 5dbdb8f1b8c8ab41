package e2e

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"
)

// scrapeWithoutEnd is a user of this host who holds 1,000 connections to the metrics, each with a
// header that does not end and is as long as Go's default allows.
func scrapeWithoutEnd(ctx context.Context, s *storm) {
	const threads, each = 20, 50
	var running sync.WaitGroup
	for range threads {
		running.Go(func() {
			_ = asUser(nobody, nil, func() error {
				holdHeaders(ctx, s, each)
				return nil
			})
		})
	}
	running.Wait()
}

// header is a connection with a request whose header is not complete.
type header struct {
	net.Conn
	size int
}

func holdHeaders(ctx context.Context, s *storm, n int) {
	const longest, part = 960 << 10, 16 << 10
	line := "X: " + strings.Repeat("y", part-5) + "\r\n"
	held := make([]header, n)
	defer func() {
		for _, c := range held {
			if c.Conn != nil {
				c.Close()
			}
		}
	}()
	for pause(ctx, 20*time.Millisecond) {
		for i := range held {
			c := &held[i]
			if c.Conn == nil {
				if c.open() != nil {
					continue
				}
				s.note("connections of scrapers", 1)
			}
			send := line
			if c.size+part > longest {
				continue // silent from now on
			}
			c.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := c.Write([]byte(send)); err != nil {
				c.Close()
				*c = header{}
				continue
			}
			c.size += part
		}
	}
}

func (c *header) open() (err error) {
	if c.Conn, err = net.DialTimeout("tcp", hostileMetrics, time.Second); err != nil {
		return err
	}
	c.size = 0
	_, err = c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: localhost\r\n"))
	return err
}
