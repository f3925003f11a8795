package agent

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	maxTable = 64 << 20 // bytes of a table's file
	keyFile  = 4096     // of a key's or a passphrase's
)

// readTable reads a party's own rows.
func readTable(path string, groups []string, key []byte) ([]agg.Row, error) {
	f, err := openTable(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return rows(f, path, groups, key)
}

// rows parses a table: header, then a row a line.
func rows(r io.Reader, name string, groups []string, key []byte) ([]agg.Row, error) {
	t := newTable(r, name, maxTable, "three fields a row, quotes closed")
	if err := t.head("the columns are group, subject, amount", func(head []string) bool { return slices.Equal(head, []string{"group", "subject", "amount"}) }); err != nil {
		return nil, err
	}
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, err
	}
	var out []agg.Row
	var sum [8]byte
	for {
		rec, err := t.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		g := slices.Index(groups, rec[0])
		if g < 0 {
			return nil, t.bad("the group is one of the question's")
		}
		if rec[1] == "" {
			return nil, t.bad("every row has a subject")
		}
		n, err := strconv.ParseInt(rec[2], 10, 64)
		if err != nil || n < 0 || n > agg.MaxAmount {
			return nil, t.bad("the amount is a whole number from 0 to 2^40-1")
		}
		mac.Rows(sum[:], 8, []int32{0, int32(len(rec[1]))}, []byte(rec[1]))
		out = append(out, agg.Row{Group: g, Subject: binary.BigEndian.Uint64(sum[:]) >> (64 - agg.SubjectBits), Amount: n})
	}
}

// readHex reads a key of 32 bytes from a file that nobody else may read.
func readHex(path string) ([]byte, error) {
	b, err := private(path, keyFile)
	if err != nil {
		return nil, err
	}
	k, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(k) != 32 {
		return nil, &sandbox.Error{Op: "party: key", Kind: sandbox.Invalid, Object: path, Detail: "64 hex digits"}
	}
	return k, nil
}

// private reads a file that is its owner's alone.
func private(path string, most int64) ([]byte, error) {
	absent := &sandbox.Error{Op: "party: key", Kind: sandbox.NotFound, Object: path, Detail: fmt.Sprintf("a regular file of at most %d bytes that can be read", most)}
	f, err := os.Open(path)
	if err != nil {
		return nil, absent
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return nil, absent
	}
	if info.Mode().Perm()&othersMay(path) != 0 {
		return nil, &sandbox.Error{Op: "party: key", Kind: sandbox.Denied, Object: path, Detail: "others may read it or write to it", Hint: "chmod 600 " + path}
	}
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, absent
	}
	return b, nil
}

// othersMay gives the rights that such a file may not have. In the folder of credentials that a service manager makes, the service's
// user is let in by an access list, and the list's mask stands where the group's rights do.
func othersMay(path string) fs.FileMode {
	if c := os.Getenv("CREDENTIALS_DIRECTORY"); c != "" && filepath.Dir(filepath.Clean(path)) == filepath.Clean(c) {
		return 0o037
	}
	return 0o077
}

// Plain answers a question over the owners' files in the open: the oracle of a demonstration with generated tables.
func Plain(q agg.Question, tables []string, subjectKey string) ([]agg.Group, error) {
	k, err := readHex(subjectKey)
	if err != nil {
		return nil, err
	}
	var owners [][]agg.Row
	for _, path := range tables {
		t, err := readTable(path, q.Groups, k)
		if err != nil {
			return nil, err
		}
		owners = append(owners, t)
	}
	return q.Plain(owners), nil
}
