package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var errFeed = errors.New("guest: the host sent no data set")

var dataset = sync.OnceValues(func() ([]byte, error) {
	if os.Getenv(Variable) != Version {
		return nil, ErrOutside
	}
	b, _, err := Receive()
	return b, err
})

// Dataset waits for the data set and gives its bytes, mapped read-only: a write to them ends the process. It is empty when
// the job has none. Every call gives the same bytes.
func Dataset() ([]byte, error) { return dataset() }

// Receive takes the next message of descriptor 4: its object's bytes, and whether there was one. The jail's own host of wasm
// modules uses it; a plug-in calls Dataset.
func Receive() ([]byte, bool, error) {
	var head [8]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(feedFD, head[:], oob, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, oobn, _, _, err = unix.Recvmsg(feedFD, head[:], oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return nil, false, fmt.Errorf("guest: receive: %w", err)
	}
	if n != len(head) {
		return nil, false, errFeed
	}
	size := binary.LittleEndian.Uint64(head[:])
	if oobn == 0 {
		return nil, false, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, false, errFeed
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, false, errFeed
	}
	if size == 0 {
		return []byte{}, true, unix.Close(fds[0])
	}
	b, err := unix.Mmap(fds[0], 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, false, fmt.Errorf("guest: map: %w", err)
	}
	return b, true, unix.Close(fds[0])
}
