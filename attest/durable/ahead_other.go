//go:build !linux

package durable

// Ahead does nothing on this system.
func Ahead(File, int64, int64) {}
