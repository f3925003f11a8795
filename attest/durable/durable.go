// Package durable replaces files so that they are there whole or not at all, also after a crash (持久写入): a temporary file
// beside the old one, written and synced, renamed over it, and the folder synced. What Replace returned nil for survives a
// power cut on a file system that honours fsync. Files are readable by their owner only.
//
// A crash may leave the temporary file, named path.tmp; the next Replace writes over it. It gives no locking: one writer
// per path is the caller's to ensure. Errors are those of package os.
package durable

import (
	"os"
	"path/filepath"
)

// Replace makes path a file that holds exactly b.
func Replace(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
