package seam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
)

// Listener (本机套接字) is a local socket that talks only to processes of named users, whatever the file's permissions say.
type Listener struct {
	*net.UnixListener
	path  string
	users []uint32
}

// Listen makes a socket at path, replacing one that a dead process left. Only processes of the given users get through; the
// folder must be one in which nobody else can rename.
func Listen(path string, perm os.FileMode, users ...uint32) (*Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, &sandbox.Error{Op: "socket: listen", Kind: sandbox.Conflict, Object: path, Detail: "something that is no socket stands there"}
		}
		if c, err := dial(context.Background(), path); err == nil {
			_ = c.Close()
			return nil, &sandbox.Error{Op: "socket: listen", Kind: sandbox.Conflict, Object: path, Detail: "another process listens there"}
		}
		if err := os.Remove(path); err != nil {
			return nil, &sandbox.Error{Op: "socket: listen", Kind: sandbox.Unavailable, Object: path, Err: err}
		}
	}
	name, done, err := short(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "socket: listen", Kind: sandbox.Unavailable, Object: path, Err: err}
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, &sandbox.Error{Op: "socket: listen", Kind: sandbox.Unavailable, Object: path, Err: err}
	}
	l.SetUnlinkOnClose(false) // the short name is gone by then
	if err := os.Chmod(path, perm); err != nil {
		return nil, errors.Join(&sandbox.Error{Op: "socket: listen", Kind: sandbox.Unavailable, Object: path, Err: err}, l.Close())
	}
	return &Listener{l, path, users}, nil
}

// Close stops listening and removes the socket.
func (l *Listener) Close() error {
	_ = os.Remove(l.path)
	return l.UnixListener.Close()
}

// maxName is what fits into a socket's address.
const maxName = 100

// short gives a name for path that fits into a socket's address; done is called when the socket is bound or connected.
func short(path string) (name string, done func(), err error) {
	if len(path) <= maxName {
		return path, func() {}, nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), filepath.Base(path)), func() { _ = d.Close() }, nil
}

// Accept gives the next connection of an allowed user; others are closed without an answer.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(c); err == nil && slices.Contains(l.users, uid) {
			return c, nil
		}
		_ = c.Close()
	}
}

// Dial connects to the socket at path if a process of the given user listens there: whoever can put a socket of their own
// in its place is not talked to.
func Dial(ctx context.Context, path string, user uint32) (net.Conn, error) {
	c, err := dial(ctx, path)
	if err != nil {
		return nil, &sandbox.Error{Op: "socket: dial", Kind: sandbox.Unavailable, Object: path, Detail: "nobody listens there", Err: err}
	}
	if uid, err := peer(c.(*net.UnixConn)); err != nil || uid != user {
		_ = c.Close()
		return nil, &sandbox.Error{Op: "socket: dial", Kind: sandbox.Denied, Object: path, Detail: "a process of another user listens there"}
	}
	return c, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	name, done, err := short(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", name)
}

// peer gives the user at the other end, as the kernel knows it.
func peer(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if cerr != nil {
		return 0, cerr
	}
	return cred.Uid, nil
}
