package feeds

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"aead.dev/minisign"
)

// checksum fetches the SHA-256 of the list, or returns "" if the feed has none.
func (c *fetcher) checksum(ctx context.Context, client *http.Client, f Feed) (string, error) {
	if f.SHA256 == "" {
		return "", nil
	}
	if !hasScheme(f.SHA256, "https") {
		return "", errors.New("the address of the checksum (sha256) is not https")
	}
	text, err := c.small(ctx, client, f.SHA256)
	if err != nil {
		return "", fmt.Errorf("fetch the checksum: %w", err)
	}
	sum, err := findChecksum(string(text), baseName(f.URL))
	if err != nil {
		return "", fmt.Errorf("read the checksum: %w", err)
	}
	return sum, nil
}

func baseName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// findChecksum returns the checksum in the output of sha256sum, with or without names. Of
// several lines it takes the one with the name.
func findChecksum(text, name string) (string, error) {
	var found []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || !isSHA256(words[0]) {
			continue
		}
		if len(words) == 2 && path.Base(strings.TrimPrefix(words[1], "*")) == name {
			return strings.ToLower(words[0]), nil
		}
		found = append(found, strings.ToLower(words[0]))
	}
	if len(found) != 1 {
		return "", fmt.Errorf("want one SHA-256, or one for %q; there are %d", name, len(found))
	}
	return found[0], nil
}

func isSHA256(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32
}

// checkSignature fetches the signature of the list in file and checks it.
func (c *fetcher) checkSignature(ctx context.Context, client *http.Client, f Feed, file *os.File) error {
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(f.Minisign)); err != nil {
		return fmt.Errorf("minisign: %w; want the second line of the .pub file", err)
	}
	signature, err := c.signature(ctx, client, f)
	if err != nil {
		return fmt.Errorf("fetch the signature: %w", err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r := minisign.NewReader(file)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if !r.Verify(key, signature) {
		return errors.New("the signature is not one of this list by the key of minisign: " +
			"it is wrong, or was made without hashing (minisign before 0.10)")
	}
	return nil
}

// signature fetches the file beside the list.
func (c *fetcher) signature(ctx context.Context, client *http.Client, f Feed) ([]byte, error) {
	const suffix = ".minisig"
	if p := f.path(); p != "" {
		sig, err := os.Open(p + suffix)
		if err != nil {
			return nil, err
		}
		defer sig.Close()
		return io.ReadAll(io.LimitReader(sig, maxSmall))
	}
	u, err := url.Parse(f.URL)
	if err != nil {
		return nil, withoutURL(err)
	}
	u.Path += suffix
	if u.RawPath != "" {
		u.RawPath += suffix
	}
	return c.small(ctx, client, u.String())
}
