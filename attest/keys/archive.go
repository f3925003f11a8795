package keys

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxArchive bounds a key archive, 256 MiB.
const MaxArchive = 256 << 20

const (
	archiveTitle = "opdomain key archive v1\n"
	rootEntry    = "root"
)

// Backup (密钥备份) is a key folder under a fresh backup key, and that key's shares. The archive is no secret without a threshold
// of them.
type Backup struct {
	Archive []byte
	Shares  []Share
}

// archiveHead is the readable line of an archive and the associated data of its body.
type archiveHead struct {
	Domain string        `json:"domain"`
	Set    string        `json:"set"`
	Root   sandbox.KeyID `json:"root"`
	At     time.Time     `json:"at"`
}

// ExportShares gives the key folder as one archive under a fresh 256-bit key, and n shares of that key of which t open it.
// The folder records the set, and certificates of later erasures name it: a key erased afterwards is still in the archive.
// Denied where the root is in a token: it cannot leave, and the token's own backup is what there is.
func (v *Vault) ExportShares(domain string, t, n int, at time.Time) (Backup, error) {
	d, ok := v.device.(*FileDevice)
	if !ok || !v.device.Describe().Exports {
		return Backup{}, &sandbox.Error{Op: "keys: export", Kind: sandbox.Denied, Object: v.device.Describe().Driver,
			Detail: "the root is not extractable from its device, and without it the key files open nowhere", Hint: "use the device's own backup, and copy the folder"}
	}
	if at.IsZero() || at.Year() < 0 || at.Year() > 9999 {
		return Backup{}, &sandbox.Error{Op: "keys: export", Kind: sandbox.Invalid, Object: "time", Detail: "an export has a time of the years 0 to 9999"}
	}
	v.turn.Lock() // no rotation moves files meanwhile
	defer v.turn.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return Backup{}, err
	}
	for _, prefix := range []string{rotating, erasing} {
		if left, err := v.names(prefix, record); err != nil {
			return Backup{}, err
		} else if len(left) > 0 {
			return Backup{}, &sandbox.Error{Op: "keys: export", Kind: sandbox.Conflict, Object: left[0], Detail: "a rotation or an erasure is unfinished", Hint: "finish it by opening the folder again"}
		}
	}
	key, shares, err := deal(domain, t, n, v.rand)
	if err != nil {
		return Backup{}, err
	}
	defer clear(key)
	root, plain, err := d.rootPlain()
	if err != nil {
		return Backup{}, err
	}
	defer clear(plain)
	head := archiveHead{Domain: domain, Set: shares[0].Set, Root: root.ID(), At: at.UTC()}
	text, err := json.Marshal(struct {
		archiveHead
		Threshold int `json:"threshold"`
		Shares    int `json:"shares"`
	}{head, t, n})
	if err != nil {
		return Backup{}, err
	}
	// Recorded first: no archive is out that certificates do not know of.
	if err := v.write(exported+head.Set[:16]+record, text); err != nil {
		return Backup{}, err
	}
	body, err := v.pack(plain)
	if err != nil {
		return Backup{}, err
	}
	defer clear(body)
	archive, err := sealArchive(head, key, body)
	return Backup{archive, shares}, err
}

// pack gives the folder as a tar: the root's key first, then the files as they are.
func (v *Vault) pack(root []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, text []byte) error {
		if int64(b.Len())+int64(len(text)) > MaxArchive-(1<<20) {
			return &sandbox.Error{Op: "keys: export", Kind: sandbox.TooLarge, Object: "archive", Detail: "at most 256 MiB"}
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(text)), Format: tar.FormatPAX}); err != nil {
			return &sandbox.Error{Op: "keys: export", Kind: sandbox.Internal, Object: name, Err: err}
		}
		_, err := w.Write(text)
		return err
	}
	if err := add(rootEntry, root); err != nil {
		return nil, err
	}
	files, err := v.names("", "")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if !archived(f) {
			continue
		}
		text, err := v.bytes(f, maxRecord)
		if err != nil {
			return nil, err
		}
		if _, ok := parse(text); strings.HasSuffix(f, suffix) && !ok {
			return nil, tampered(f) // a backup of a damaged folder would be found out when it is too late
		}
		if err := add(f, text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// archived says whether a file is of those an archive holds: keys but the root, and records.
func archived(name string) bool {
	if strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
		return false
	}
	if strings.HasSuffix(name, suffix) {
		return !strings.HasPrefix(name, string(rootName)+"~") && name != rootFile
	}
	if !strings.HasSuffix(name, record) {
		return false
	}
	for _, p := range []string{erased, rotated, handover, exported} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func sealArchive(head archiveHead, key, body []byte) ([]byte, error) {
	line, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	k, err := sm.HKDF(key, nil, sm.Frame([]byte("opdomain/archive/v1"), line), sm.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	aead, err := sm.NewGCM(k)
	if err != nil {
		return nil, err
	}
	out := append(append([]byte(archiveTitle), line...), '\n')
	// The backup key seals one archive, so the nonce is constant.
	return aead.Seal(out, make([]byte, aead.NonceSize()), body, line), nil
}

func badArchive(kind sandbox.Kind, detail string) error {
	return &sandbox.Error{Op: "keys: restore", Kind: kind, Object: "archive", Detail: detail, Hint: "bring another copy of the archive"}
}

// parseArchive reads an archive's head in its one form; nothing of it is authenticated yet.
func parseArchive(b []byte) (head archiveHead, line, box []byte, err error) {
	if len(b) > MaxArchive {
		return head, nil, nil, badArchive(sandbox.TooLarge, "at most 256 MiB")
	}
	rest, ok := bytes.CutPrefix(b, []byte(archiveTitle))
	line, box, cut := bytes.Cut(rest, []byte("\n"))
	if !ok || !cut || len(line) > 1024 || json.Unmarshal(line, &head) != nil {
		return head, nil, nil, badArchive(sandbox.Invalid, "not a key archive of this version")
	}
	k, known := parseKEK(head.Root)
	again, err := json.Marshal(head)
	if set, serr := hex.DecodeString(head.Set); err != nil || !bytes.Equal(again, line) || serr != nil || len(set) != sm.Size || !known || k.Name != rootName {
		return head, nil, nil, badArchive(sandbox.Tampered, "the archive's first lines were changed")
	}
	return head, line, box, nil
}

// unpack reads the body of an archive: the root's key and the files.
func unpack(body []byte) (root []byte, files map[string][]byte, err error) {
	r := tar.NewReader(bytes.NewReader(body))
	files = map[string][]byte{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil || h.Typeflag != tar.TypeReg || h.Size < 0 || h.Size > maxRecord || len(h.PAXRecords) > 0 {
			return nil, nil, badArchive(sandbox.Tampered, "an entry is no file of a key folder")
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, nil, badArchive(sandbox.Tampered, "an entry is cut short")
		}
		if h.Name == rootEntry && root == nil && len(text) == keyLen+blindLen {
			root = text
			continue
		}
		_, double := files[h.Name]
		x, isKey := parse(text)
		if double || !archived(h.Name) || strings.HasSuffix(h.Name, suffix) && (!isKey || string(x.Header.ID)+suffix != h.Name) {
			return nil, nil, badArchive(sandbox.Tampered, "an entry is no file of a key folder")
		}
		files[h.Name] = text
	}
	if root == nil {
		return nil, nil, badArchive(sandbox.Tampered, "the root is missing")
	}
	return root, files, nil
}

// Restore (密钥恢复参数) is where an archive's keys go and the passphrase they get.
type Restore struct {
	Dir        string
	FS         durable.FS // nil: the machine's
	Rand       io.Reader
	Passphrase []byte
	Params     Params
}

// RestoreFromShares makes a key folder of an archive and at least a threshold of its shares, under a new passphrase. The
// root is written last: a folder that a crash left half restored does not open, and is emptied by hand. Keys erased since
// the export come back; the caller erases them again, from its evidence.
//
// Errors: Invalid for too few shares, Conflict for shares of different sets or of another archive, Tampered for a changed
// share or archive.
func RestoreFromShares(c Restore, archive []byte, shares []Share) (*Vault, error) {
	head, line, box, err := parseArchive(archive)
	if err != nil {
		return nil, err
	}
	key, err := combine(shares)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if shares[0].Set != head.Set {
		return nil, &sandbox.Error{Op: "keys: restore", Kind: sandbox.Conflict, Object: "archive", Detail: "the shares are of another archive", Hint: "bring the archive whose set the shares name"}
	}
	k, err := sm.HKDF(key, nil, sm.Frame([]byte("opdomain/archive/v1"), line), sm.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	aead, err := sm.NewGCM(k)
	if err != nil {
		return nil, err
	}
	body, err := aead.Open(nil, make([]byte, aead.NonceSize()), box, line)
	if err != nil {
		return nil, badArchive(sandbox.Tampered, "the archive was changed")
	}
	defer clear(body)
	root, files, err := unpack(body)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	f := newFolder(c.FS, c.Dir, c.Rand)
	if err := f.vacant(); err != nil {
		return nil, err
	}
	d, err := OpenFileDevice(FileConfig(c))
	if err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := f.write(name, text); err != nil {
			d.Close()
			return nil, err
		}
	}
	rootKEK, _ := parseKEK(head.Root)
	if err := d.installRoot(rootKEK, root); err != nil {
		d.Close()
		return nil, err
	}
	v, err := OpenVault(Config{Dir: c.Dir, FS: c.FS, Rand: c.Rand, Device: d})
	if errors.Is(err, sandbox.NotFound) {
		err = badArchive(sandbox.Tampered, "the archive lacks the domain's keys")
	}
	return v, err
}
