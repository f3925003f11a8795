// Package durable replaces files so that they are there whole or not at all, also after a crash (持久写入): a temporary file
// beside the old one, written and synced, renamed over it, and the folder synced. What Replace returned nil for survives a
// power cut on a file system that honours fsync. Files are readable by their owner only.
//
// A crash may leave the temporary file, named path.tmp; the next Replace writes over it. It gives no locking: one writer
// per path is the caller's to ensure. Errors are those of package os.
//
// FS is the file system as packages see it that promise to survive a crash; package crashfs breaks it on purpose in tests.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace makes path a file that holds exactly b.
func Replace(path string, b []byte) error { return ReplaceIn(OS(), path, b) }

// ReplaceIn is Replace in a file system.
func ReplaceIn(fs FS, path string, b []byte) error {
	tmp := path + ".tmp"
	// Removed and made anew: a link or a second name somebody left under it is not written through.
	if err := fs.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := fs.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
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
		err = fs.Rename(tmp, path)
	}
	if err != nil {
		_ = fs.Remove(tmp)
		return err
	}
	return fs.SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error { return OS().SyncDir(dir) }
