package api

import (
	"io"
	"testing"
	"time"
)

// TestAnsweredWhileReading: a call is answered while the reader of its frames still waits for them, over and over; the race
// detector looks on.
func TestAnsweredWhileReading(t *testing.T) {
	for range 200 {
		r, w := io.Pipe()
		f := &incoming{body: r, max: 1 << 20, lift: func() {}, expire: func() { _ = w.CloseWithError(io.ErrUnexpectedEOF) }}
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, f)
			done <- err
		}()
		go func() { _, _ = w.Write([]byte("frame")); _ = w.Close() }()
		f.left()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("the reader was not let go")
		}
	}
}
