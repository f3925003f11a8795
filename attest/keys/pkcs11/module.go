//go:build cgo

package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Module (密码机接口库) is a loaded and initialised PKCS#11 library. Cryptoki initialises once per process, so the composition
// root loads it once and opens its devices from it.
type Module struct {
	ctx  *p11.Ctx
	name string // library and version, of C_GetInfo

	mu     sync.Mutex
	logins map[uint]*login // by slot: a token knows one login per process
}

type login struct {
	n   int
	pin [sm.Size]byte // digest: the token would not look at a second PIN
}

// Load loads and initialises the library at path.
func Load(path string) (*Module, error) {
	ctx := p11.New(path)
	if ctx == nil {
		return nil, &sandbox.Error{Op: "pkcs11: load", Kind: sandbox.Unavailable, Object: path, Detail: "the library cannot be loaded", Hint: "check the module's path"}
	}
	if err := ctx.Initialize(); err != nil {
		ctx.Destroy()
		return nil, &sandbox.Error{Op: "pkcs11: load", Kind: sandbox.Unavailable, Object: path, Detail: "the library does not initialise", Err: err}
	}
	m := &Module{ctx: ctx, logins: map[uint]*login{}}
	info, err := ctx.GetInfo()
	if err != nil {
		return nil, errors.Join(&sandbox.Error{Op: "pkcs11: load", Kind: sandbox.Unavailable, Object: path, Err: err}, m.Close())
	}
	m.name = fmt.Sprintf("%s %s %d.%d", trim(info.ManufacturerID), trim(info.LibraryDescription), info.LibraryVersion.Major, info.LibraryVersion.Minor)
	return m, nil
}

// Close ends the library; devices opened from it are Unavailable afterwards.
func (m *Module) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.ctx.Finalize()
	m.ctx.Destroy()
	return err
}

func trim(s string) string { return strings.Trim(s, " \x00") }

// slot finds the one token the config names.
func (m *Module) slot(c Config) (uint, p11.TokenInfo, error) {
	slots, err := m.ctx.GetSlotList(true)
	if err != nil {
		return 0, p11.TokenInfo{}, noToken(c.Token, "the slots cannot be listed", err)
	}
	var found []uint
	var info p11.TokenInfo
	for _, s := range slots {
		t, err := m.ctx.GetTokenInfo(s)
		if err != nil || trim(t.Label) != c.Token || c.Serial != "" && trim(t.SerialNumber) != c.Serial {
			continue
		}
		found, info = append(found, s), t
	}
	if len(found) == 0 {
		return 0, info, noToken(c.Token, "no slot holds it", nil)
	}
	if len(found) > 1 {
		return 0, info, &sandbox.Error{Op: "pkcs11", Kind: sandbox.Conflict, Object: fmt.Sprintf("token %q", c.Token), Detail: "more than one has this label", Hint: "name its serial number"}
	}
	return found[0], info, nil
}

// login logs in, or joins a login with the same PIN.
func (m *Module) login(slot uint, s p11.SessionHandle, c Config) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	wrong := &sandbox.Error{Op: "pkcs11: login", Kind: sandbox.Passphrase, Object: fmt.Sprintf("token %q", c.Token), Detail: "the token refuses the PIN", Hint: "check the PIN; tokens lock after a few wrong ones"}
	digest := sm.Sum(c.PIN)
	if l := m.logins[slot]; l != nil && l.n > 0 {
		if l.pin != digest {
			return wrong
		}
	}
	err := m.ctx.Login(s, p11.CKU_USER, string(c.PIN))
	switch {
	case err == nil, errors.Is(err, p11.Error(p11.CKR_USER_ALREADY_LOGGED_IN)):
		if m.logins[slot] == nil {
			m.logins[slot] = &login{}
		}
		m.logins[slot].n++
		m.logins[slot].pin = digest
		return nil
	case errors.Is(err, p11.Error(p11.CKR_PIN_INCORRECT)), errors.Is(err, p11.Error(p11.CKR_PIN_LEN_RANGE)), errors.Is(err, p11.Error(p11.CKR_PIN_INVALID)):
		return wrong
	case errors.Is(err, p11.Error(p11.CKR_PIN_LOCKED)):
		wrong.Detail, wrong.Hint = "the token has locked the PIN", "have its security officer unlock it"
		return wrong
	}
	return noToken(c.Token, "it refuses the login", err)
}

// logout ends the login with the last device of the slot.
func (m *Module) logout(slot uint, s p11.SessionHandle) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.logins[slot]
	if l == nil {
		return
	}
	if l.n--; l.n <= 0 {
		delete(m.logins, slot)
		_ = m.ctx.Logout(s) // the session's end does it too
	}
}

// Open opens a session on a token and logs in.
func (m *Module) Open(c Config) (keys.Device, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.PIN = bytes.Clone(c.PIN)
	d := &device{m: m, c: c, handles: map[keys.KEK]p11.ObjectHandle{}}
	if err := d.connect(); err != nil {
		clear(c.PIN)
		return nil, err
	}
	d.c.Serial = trim(d.info.SerialNumber) // a reconnection is to this very token
	return d, nil
}
