package durable

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Ahead has the system begin to write n bytes of f from a place on to the disk and does not wait: a Sync later finds less to do.
// It promises nothing, and does nothing where the file or the system cannot.
func Ahead(f File, at, n int64) {
	c, ok := f.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SyncFileRange(int(fd), at, n, unix.SYNC_FILE_RANGE_WRITE) })
}
