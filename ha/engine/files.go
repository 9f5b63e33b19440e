package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// Every file below engine/ is one JSON document, root-only:
//
//	{"version": 1, "crc": "3f1a09c2", "body": {...}}
//
// crc is CRC-32C, eight hex digits, over the bytes of body as they stand in the file. A file of another version or with a wrong
// sum is corrupt: it is moved aside (NAME.corrupt), never overwritten, because a person may want to read it.
const fileVersion = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errCorrupt marks a file that is there and cannot be trusted.
var errCorrupt = errors.New("corrupt")

type envelope struct {
	Version int             `json:"version"`
	CRC     string          `json:"crc"`
	Body    json.RawMessage `json:"body"`
}

// saveFile makes body durable under path: after a crash at any instant the old or the new content is there, whole.
func saveFile(path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	data, err := json.Marshal(envelope{fileVersion, sum(raw), raw})
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

// loadFile reads what saveFile wrote; fs.ErrNotExist if there is none, errCorrupt if it cannot be trusted.
func loadFile(path string, body any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("%s is %w: not a document of Evenkeel (%v)", path, errCorrupt, err)
	}
	if e.Version != fileVersion {
		return fmt.Errorf("%s is %w: its version is %d, this program reads %d", path, errCorrupt, e.Version, fileVersion)
	}
	if e.CRC != sum(e.Body) {
		return fmt.Errorf("%s is %w: its sum is %s, its content has %s", path, errCorrupt, e.CRC, sum(e.Body))
	}
	if err := json.Unmarshal(e.Body, body); err != nil {
		return fmt.Errorf("%s is %w: %v", path, errCorrupt, err)
	}
	return nil
}

func sum(body []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(bytes.TrimSpace(body), castagnoli))
}

// setAside keeps a corrupt file for a person to read.
func setAside(path string) { _ = os.Rename(path, path+".corrupt") }

// removeFile removes a file; that it is absent is what is wanted.
func removeFile(path string) { _ = os.Remove(path) }

// writeFile replaces path: temporary file, sync, rename, sync of the folder.
func writeFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// removeLeftovers removes the temporary files of writes that a crash cut short.
func removeLeftovers(dir string) {
	entries, _ := filepath.Glob(filepath.Join(dir, "*.json.[0-9]*"))
	for _, path := range entries {
		_ = os.Remove(path)
	}
}
