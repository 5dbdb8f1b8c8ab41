package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/detect"
)

// offendersFile is the name of the file of repeat offenders in the state directory. It
// is not part of the store: without it only the next ban of an offender is shorter.
const offendersFile = "offenders.json"

// offendersEvery is the shortest time between two writes of the file during an attack.
const offendersEvery = 5 * time.Second

// offender is a repeat offender in the file.
type offender struct {
	Detector string       `json:"detector"`
	Prefix   netip.Prefix `json:"prefix"`
	Offences int          `json:"offences"`
	Forget   string       `json:"forget"` // time until it is forgotten, from when the file was written
}

// readOffenders reads the file. If there is no file, there are no offenders.
func readOffenders(path string) ([]detect.Offender, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read offenders: %w", err)
	}
	var stored []offender
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("read offenders from %s: %w", path, err)
	}
	var list []detect.Offender
	for _, o := range stored {
		forget, err := time.ParseDuration(o.Forget)
		if err != nil {
			return nil, fmt.Errorf("read offenders from %s: %w", path, err)
		}
		list = append(list, detect.Offender{
			Detector: o.Detector, Prefix: o.Prefix, Offences: o.Offences, Forget: forget,
		})
	}
	return list, nil
}

// writeOffenders writes the file, if it has changed. If there are no offenders, it removes
// the file.
func writeOffenders(path string, list []detect.Offender) error {
	if len(list) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove offenders: %w", err)
		}
		return nil
	}
	stored := make([]offender, len(list))
	for i, o := range list {
		stored[i] = offender{o.Detector, o.Prefix, o.Offences, o.Forget.Round(time.Second).String()}
	}
	b, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encode offenders: %w", err)
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return replaceFile(path, b)
}

// replaceFile replaces the content of a file. After a crash the file has the old or the
// new content.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, unix.Fdatasync(int(f.Fd())), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
