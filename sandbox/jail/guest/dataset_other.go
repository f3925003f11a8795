//go:build !linux

package guest

// Dataset fails: the jail needs Linux.
func Dataset() ([]byte, error) { return nil, ErrOutside }

// Receive fails: the jail needs Linux.
func Receive() ([]byte, bool, error) { return nil, false, ErrOutside }
