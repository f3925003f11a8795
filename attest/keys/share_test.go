package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func backup(t *testing.T) (*Vault, *Key, Backup) {
	t.Helper()
	v, _ := made(t)
	k, err := v.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.RotateRoot(); err != nil {
		t.Fatal(err)
	}
	b, err := v.ExportShares("futian", 3, 5, march)
	if err != nil {
		t.Fatal(err)
	}
	return v, k, b
}

func restore(t *testing.T, b []byte, shares ...Share) (*Vault, error) {
	t.Helper()
	return RestoreFromShares(Restore{Dir: filepath.Join(t.TempDir(), "r"), Rand: rand.Reader, Passphrase: []byte("new"), Params: cheap}, b, shares)
}

func TestRestoreFromShares(t *testing.T) {
	v, k, b := backup(t)
	for _, pick := range [][]int{{0, 1, 2}, {4, 2, 0}, {0, 1, 2, 3, 4}, {1, 1, 3, 4}} {
		var shares []Share
		for _, i := range pick {
			s, err := ParseShare(b.Shares[i].Text())
			if err != nil {
				t.Fatal(err)
			}
			shares = append(shares, s)
		}
		w, err := restore(t, b.Archive, shares...)
		if err != nil {
			t.Fatal(pick, err)
		}
		again, err := w.VersionKey(k.ID())
		if err != nil || !bytes.Equal(derive(t, again, "x"), derive(t, k, "x")) || !bytes.Equal(w.SigningKey().Bytes(), v.SigningKey().Bytes()) {
			t.Errorf("%v: other keys, %v", pick, err)
		}
		dir := w.dir
		w.Close()
		if _, err := Open(dir, phrase, rand.Reader); !errors.Is(err, sandbox.Passphrase) {
			t.Errorf("the old passphrase: %v", err)
		}
		if _, err := Open(dir, []byte("new"), rand.Reader); err != nil {
			t.Error(err)
		}
		if _, err := RestoreFromShares(Restore{Dir: dir, Rand: rand.Reader, Passphrase: []byte("new"), Params: cheap}, b.Archive, shares); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("over keys: %v", err)
		}
	}
	e, err := v.Destroy(k.ID(), "agency", march)
	if err != nil || !strings.Contains(strings.Join(e.Remains, ";"), b.Shares[0].Set[:16]) {
		t.Errorf("a certificate that does not know of the archive: %v", err)
	}
}

func TestSharesThatDoNotRestore(t *testing.T) {
	v, _, b := backup(t)
	other, err := v.ExportShares("futian", 3, 5, march)
	if err != nil {
		t.Fatal(err)
	}
	s := b.Shares
	forged := s[2]
	forged.value = bytes.Clone(forged.value)
	forged.value[31] ^= 1
	for name, c := range map[string]struct {
		archive []byte
		shares  []Share
		kind    sandbox.Kind
	}{
		"none":            {b.Archive, nil, sandbox.Invalid},
		"too few":         {b.Archive, s[:2], sandbox.Invalid},
		"one twice":       {b.Archive, []Share{s[0], s[1], s[1]}, sandbox.Invalid},
		"mixed":           {b.Archive, []Share{s[0], s[1], other.Shares[2]}, sandbox.Conflict},
		"other archive":   {other.Archive, s[:3], sandbox.Conflict},
		"forged":          {b.Archive, []Share{s[0], s[1], forged}, sandbox.Tampered},
		"changed archive": {append(bytes.Clone(b.Archive[:len(b.Archive)-1]), b.Archive[len(b.Archive)-1]^1), s[:3], sandbox.Tampered},
		"no archive":      {[]byte("x"), s[:3], sandbox.Invalid},
	} {
		if _, err := restore(t, c.archive, c.shares...); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseShare(forged.Text()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "share 3") {
		t.Errorf("a share with a right check and a wrong value: %v", err)
	}
	text := s[0].Text()
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if _, err := ParseShare(bad); !errors.Is(err, sandbox.Tampered) && !errors.Is(err, sandbox.Invalid) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	for _, x := range [][2]int{{1, 3}, {4, 3}, {2, MaxShares + 1}} {
		if _, err := v.ExportShares("futian", x[0], x[1], march); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%v: %v", x, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", s[0], s[0], s[0]); !strings.Contains(text, "redacted") || strings.Contains(text, fmt.Sprintf("%x", s[0].value)) {
		t.Error("a share prints its value")
	}
}

func TestSealedShares(t *testing.T) {
	_, _, b := backup(t)
	mine, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Shares[1].Seal(rand.Reader, mine.Public())
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenShare(text, mine)
	if err != nil || !bytes.Equal(s.Text(), b.Shares[1].Text()) {
		t.Errorf("%v", err)
	}
	if _, err := OpenShare(text, theirs); !errors.Is(err, sandbox.Denied) {
		t.Errorf("another custodian: %v", err)
	}
	i := bytes.LastIndexByte(text[:len(text)-50], '\n') - 20
	text[i] ^= 1
	if _, err := OpenShare(text, mine); err == nil {
		t.Error("a changed box opens")
	}
}

func FuzzParseShare(f *testing.F) {
	_, shares, err := deal("d", 2, 3, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shares[0].Text())
	f.Add([]byte(shareTitle + "\nscheme: x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseShare(b); err == nil && !bytes.Equal(s.Text(), b) {
			t.Error("a share has two forms")
		}
	})
}

func FuzzArchive(f *testing.F) {
	v, err := Create(filepath.Join(f.TempDir(), "k"), phrase, cheap, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	b, err := v.ExportShares("d", 2, 3, march)
	if err != nil {
		f.Fatal(err)
	}
	body, err := v.pack(make([]byte, keyLen+blindLen))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Archive)
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _, _ = parseArchive(b)
		if root, files, err := unpack(b); err == nil {
			if len(root) != keyLen+blindLen {
				t.Error("a root of another length")
			}
			for name := range files {
				if strings.ContainsAny(name, "/\\") {
					t.Error("a file outside the folder")
				}
			}
		}
	})
}
