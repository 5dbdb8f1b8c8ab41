package feeds

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// fetcher fetches the bodies of lists into files.
type fetcher struct {
	agent string // of the header User-Agent
	proxy proxyFunc
	allow func(netip.Addr) error
	now   func() time.Time
}

// condition is what is known of the last body. The zero value asks for a body in any case.
type condition struct {
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"` // the header Last-Modified, as it came
	Digest   string `json:"digest,omitempty"`   // SHA-256 of the body
}

// body is an answer.
type body struct {
	condition condition
	unchanged bool // there is no new body
	unframed  bool // only the end of the connection tells where the body ends
	last      byte // of the body
}

// fetch fetches a list into file. The answer has been checked against the checksum and the
// signature.
func (c *fetcher) fetch(ctx context.Context, f Feed, known condition, file *os.File) (body, error) {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	client, err := newClient(f, c.proxy, c.allow)
	if err != nil {
		return body{}, err
	}
	sum, err := c.checksum(ctx, client, f)
	if err != nil {
		return body{}, err
	}
	if sum != "" {
		if sum == known.Digest {
			return body{condition: known, unchanged: true}, nil
		}
		known = condition{} // the body has changed, whatever the server of the list says
	}
	b, err := c.list(ctx, client, f, known, file)
	if err != nil || b.unchanged {
		return b, err
	}
	if sum != "" && sum != b.condition.Digest {
		return body{}, errors.New("the SHA-256 of the list is not that of the file beside it")
	}
	if f.Minisign != "" {
		if err := c.checkSignature(ctx, client, f, file); err != nil {
			return body{}, err
		}
	}
	return b, nil
}

// list fetches the list itself.
func (c *fetcher) list(ctx context.Context, client *http.Client, f Feed, known condition, file *os.File) (body, error) {
	if path := f.path(); path != "" {
		return readFile(path, f.MaxBytes, known, file)
	}
	if err := checkScheme(f); err != nil {
		return body{}, err
	}
	header := http.Header{}
	if known.ETag != "" {
		header.Set("If-None-Match", known.ETag)
	}
	if known.Modified != "" {
		header.Set("If-Modified-Since", known.Modified)
	}
	resp, err := get(ctx, client, f.URL, c.agent, header)
	if err != nil {
		return body{}, err
	}
	defer resp.Body.Close()
	if err := expect(resp, c.now()); err != nil {
		return body{}, err
	}
	if resp.StatusCode == http.StatusNotModified {
		if len(header) == 0 {
			return body{}, errors.New("the server answered 304 Not Modified to a request without a condition")
		}
		return body{condition: known, unchanged: true}, nil
	}
	b, err := readBody(resp, f.MaxBytes, file)
	// When the time is up, the client tells the server while it still reads. So a server can
	// end a body that is not complete as if it were.
	if late := ctx.Err(); late != nil {
		return body{}, withoutURL(late)
	}
	return b, err
}

// checkScheme refuses a list that anybody on the way can change.
func checkScheme(f Feed) error {
	switch {
	case hasScheme(f.URL, "https"):
	case !hasScheme(f.URL, "http"):
		return fmt.Errorf("%s is neither https, http nor a file", shownURL(f.URL))
	case f.Minisign == "" && f.SHA256 == "":
		return errors.New("http needs a signature (minisign) or a checksum over https (sha256)")
	}
	return nil
}

func hasScheme(url, scheme string) bool {
	return len(url) > len(scheme)+3 && url[:len(scheme)+3] == scheme+"://"
}

// readBody copies the body of an answer to file.
func readBody(resp *http.Response, most int64, file *os.File) (body, error) {
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && coding != "identity" && coding != "gzip" {
		return body{}, fmt.Errorf("the answer has the Content-Encoding %q, which was not asked for", coding)
	}
	if resp.ContentLength > most {
		return body{}, tooLong(most)
	}
	b, err := copyBody(resp.Body, most, file)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return body{}, fmt.Errorf("the answer was cut off: %w", err)
	}
	if err != nil {
		return body{}, withoutURL(err)
	}
	b.condition.ETag, b.condition.Modified = resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	b.unframed = resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 && resp.ProtoMajor == 1 && !resp.Uncompressed
	return b, nil
}

func tooLong(most int64) error { return fmt.Errorf("the list is longer than %d bytes", most) }

// copyBody copies at most most bytes to file.
func copyBody(r io.Reader, most int64, file *os.File) (body, error) {
	sum := sha256.New()
	end := new(lastByte)
	n, err := io.Copy(io.MultiWriter(file, sum, end), io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return body{}, err
	case n > most:
		return body{}, tooLong(most)
	case n == 0:
		return body{}, errors.New("the answer is empty")
	}
	b := body{last: byte(*end)}
	b.condition.Digest = hex.EncodeToString(sum.Sum(nil))
	return b, nil
}

// lastByte keeps the last byte that was written.
type lastByte byte

func (l *lastByte) Write(b []byte) (int, error) {
	if len(b) > 0 {
		*l = lastByte(b[len(b)-1])
	}
	return len(b), nil
}

// readFile copies a local file. Its size and time stand for an ETag.
func readFile(path string, most int64, known condition, file *os.File) (body, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer must not hang
	if err != nil {
		return body{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return body{}, err
	case !info.Mode().IsRegular():
		return body{}, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > most:
		return body{}, tooLong(most)
	}
	tag := fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
	if tag == known.ETag {
		return body{condition: known, unchanged: true}, nil
	}
	b, err := copyBody(f, most, file)
	b.condition.ETag = tag
	return b, err
}

// small fetches a checksum or a signature.
func (c *fetcher) small(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	resp, err := get(ctx, client, address, c.agent, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := expect(resp, c.now()); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(resp.Body, maxSmall+1))
	if err == nil && n > maxSmall {
		err = tooLong(maxSmall)
	}
	return b.Bytes(), err
}
