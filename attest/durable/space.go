package durable

import (
	"errors"
	"syscall"
)

// Space (磁盘空间) gives the bytes that an unprivileged writer can still write to the file system of a folder, and its size.
type Space func(dir string) (free, size uint64, err error)

// Full says whether err is a disk, or a user's share of one, that has no space left.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
