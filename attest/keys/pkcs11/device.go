//go:build cgo

package pkcs11

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// device is a session on a token.
type device struct {
	m *Module
	c Config

	mu      sync.Mutex
	slot    uint
	info    p11.TokenInfo
	session p11.SessionHandle
	open    bool
	closed  bool
	handles map[keys.KEK]p11.ObjectHandle // of this session, attributes checked
}

// connect opens the session. Callers hold mu, or have the device alone.
func (d *device) connect() error {
	slot, info, err := d.m.slot(d.c)
	if err != nil {
		return err
	}
	s, err := d.m.ctx.OpenSession(slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return noToken(d.c.Token, "no session", err)
	}
	if err := d.m.login(slot, s, d.c); err != nil {
		_ = d.m.ctx.CloseSession(s)
		return err
	}
	d.slot, d.info, d.session, d.open = slot, info, s, true
	clear(d.handles)
	return nil
}

// disconnect ends the session. Callers hold mu.
func (d *device) disconnect() {
	if d.open {
		d.m.logout(d.slot, d.session)
		_ = d.m.ctx.CloseSession(d.session) // the token may be gone
		d.open = false
	}
	clear(d.handles)
}

// lost says whether an error means that the session is gone, not that the call was wrong.
func lost(err error) bool {
	for _, code := range []uint{p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_SESSION_CLOSED, p11.CKR_DEVICE_REMOVED, p11.CKR_TOKEN_NOT_PRESENT,
		p11.CKR_TOKEN_NOT_RECOGNIZED, p11.CKR_USER_NOT_LOGGED_IN, p11.CKR_OBJECT_HANDLE_INVALID, p11.CKR_KEY_HANDLE_INVALID, p11.CKR_DEVICE_ERROR} {
		if errors.Is(err, p11.Error(code)) {
			return true
		}
	}
	return false
}

// do runs calls on the session, once more on a new one if the token lost it. Callers hold mu.
func (d *device) do(what string, f func() error) error {
	if d.closed {
		return noToken(d.c.Token, "the device was closed", nil)
	}
	if !d.open {
		if err := d.connect(); err != nil {
			return err
		}
	}
	err := f()
	if lost(err) {
		d.disconnect()
		if err := d.connect(); err != nil {
			return err
		}
		err = f()
	}
	var named *sandbox.Error
	if err == nil || errors.As(err, &named) {
		return err
	}
	return noToken(d.c.Token, what, err)
}

func (d *device) Describe() keys.Description {
	return keys.Description{Driver: "pkcs11", Mechanism: d.c.Mechanism.full(), Erases: true}
}

func (d *device) label(name sandbox.KeyID) string { return d.c.Label + "/" + string(name) }

// find gives the objects of a label. Callers hold mu, inside do.
func (d *device) find(name sandbox.KeyID) ([]p11.ObjectHandle, error) {
	if err := d.m.ctx.FindObjectsInit(d.session, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
		p11.NewAttribute(p11.CKA_LABEL, d.label(name))}); err != nil {
		return nil, err
	}
	var out []p11.ObjectHandle
	for {
		h, _, err := d.m.ctx.FindObjects(d.session, 64)
		if err != nil || len(h) == 0 {
			return out, errors.Join(err, d.m.ctx.FindObjectsFinal(d.session))
		}
		out = append(out, h...)
	}
}

func (d *device) generationOf(h p11.ObjectHandle) (uint32, error) {
	a, err := d.m.ctx.GetAttributeValue(d.session, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil)})
	if err != nil {
		return 0, err
	}
	if len(a) != 1 || len(a[0].Value) != 16 {
		return 0, &sandbox.Error{Op: "pkcs11", Kind: sandbox.Tampered, Object: d.c.Label, Detail: "an object under a KEK's label has another's CKA_ID"}
	}
	return binary.BigEndian.Uint32(a[0].Value), nil
}

func (d *device) Generations(name sandbox.KeyID) (out []uint32, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.do("objects cannot be listed", func() error {
		out = nil
		found, err := d.find(name)
		for _, h := range found {
			g, gerr := d.generationOf(h)
			if gerr != nil {
				return gerr
			}
			out = append(out, g)
		}
		return err
	})
	slices.Sort(out)
	if err == nil && len(slices.Compact(slices.Clone(out))) != len(out) {
		return nil, d.doubled(name)
	}
	return out, err
}

func (d *device) doubled(name sandbox.KeyID) error {
	return &sandbox.Error{Op: "pkcs11", Kind: sandbox.Tampered, Object: d.label(name), Detail: "two objects are one generation of this KEK",
		Hint: "remove the one that was not generated here, with the token's own tool"}
}

// handle gives the checked object of a KEK. Callers hold mu, inside do.
func (d *device) handle(k keys.KEK) (p11.ObjectHandle, error) {
	if h, ok := d.handles[k]; ok {
		return h, nil
	}
	found, err := d.find(k.Name)
	if err != nil {
		return 0, err
	}
	var one []p11.ObjectHandle
	for _, h := range found {
		g, err := d.generationOf(h)
		if err != nil {
			return 0, err
		}
		if g == k.Generation {
			one = append(one, h)
		}
	}
	switch len(one) {
	case 0:
		return 0, &sandbox.Error{Op: "pkcs11", Kind: sandbox.NotFound, Object: d.label(k.ID()), Detail: "the token holds no such key"}
	case 1:
	default:
		return 0, d.doubled(k.Name)
	}
	o, err := d.object(one[0])
	if err != nil {
		return 0, err
	}
	if !o.Local || !o.Sensitive || !o.AlwaysSensitive || o.Extractable || !o.NeverExtractable {
		return 0, &sandbox.Error{Op: "pkcs11", Kind: sandbox.Tampered, Object: d.label(k.ID()), Detail: "the key was not generated in the token, or could have left it"}
	}
	d.handles[k] = one[0]
	return one[0], nil
}

// object reads what a certificate says of a key. Callers hold mu, inside do.
func (d *device) object(h p11.ObjectHandle) (keys.Object, error) {
	want := []uint{p11.CKA_LABEL, p11.CKA_ID, p11.CKA_LOCAL, p11.CKA_SENSITIVE, p11.CKA_ALWAYS_SENSITIVE, p11.CKA_EXTRACTABLE, p11.CKA_NEVER_EXTRACTABLE}
	template := make([]*p11.Attribute, len(want))
	for i, t := range want {
		template[i] = p11.NewAttribute(t, nil)
	}
	got, err := d.m.ctx.GetAttributeValue(d.session, h, template)
	if err != nil {
		return keys.Object{}, err
	}
	v := map[uint][]byte{}
	for _, a := range got {
		v[a.Type] = a.Value
	}
	is := func(t uint) bool { return len(v[t]) == 1 && v[t][0] == 1 }
	return keys.Object{Module: d.m.name, Manufacturer: trim(d.info.ManufacturerID), Model: trim(d.info.Model), Token: trim(d.info.Label), Serial: trim(d.info.SerialNumber),
		Label: string(v[p11.CKA_LABEL]), ID: hex.EncodeToString(v[p11.CKA_ID]), Local: is(p11.CKA_LOCAL), Sensitive: is(p11.CKA_SENSITIVE),
		AlwaysSensitive: is(p11.CKA_ALWAYS_SENSITIVE), Extractable: len(v[p11.CKA_EXTRACTABLE]) != 1 || v[p11.CKA_EXTRACTABLE][0] != 0, NeverExtractable: is(p11.CKA_NEVER_EXTRACTABLE)}, nil
}

func (d *device) Generate(k keys.KEK) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := binary.BigEndian.AppendUint32(make([]byte, 0, 16), k.Generation)[:16]
	if _, err := io.ReadFull(d.c.Rand, id[4:]); err != nil {
		return &sandbox.Error{Op: "pkcs11: generate", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return d.do("no key was generated", func() error {
		if _, err := d.handle(k); err == nil {
			return &sandbox.Error{Op: "pkcs11: generate", Kind: sandbox.Conflict, Object: d.label(k.ID()), Detail: "the KEK exists"}
		} else if !errors.Is(err, sandbox.NotFound) {
			return err
		}
		template := []*p11.Attribute{
			p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY),
			p11.NewAttribute(p11.CKA_KEY_TYPE, d.c.Mechanism.KeyType),
			p11.NewAttribute(p11.CKA_TOKEN, true),
			p11.NewAttribute(p11.CKA_PRIVATE, true),
			p11.NewAttribute(p11.CKA_SENSITIVE, true),
			p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
			p11.NewAttribute(p11.CKA_MODIFIABLE, false),
			p11.NewAttribute(p11.CKA_ENCRYPT, true),
			p11.NewAttribute(p11.CKA_DECRYPT, true),
			p11.NewAttribute(p11.CKA_WRAP, false),
			p11.NewAttribute(p11.CKA_UNWRAP, false),
			p11.NewAttribute(p11.CKA_LABEL, d.label(k.Name)),
			p11.NewAttribute(p11.CKA_ID, id),
		}
		if n := d.c.Mechanism.Bytes; n > 0 {
			template = append(template, p11.NewAttribute(p11.CKA_VALUE_LEN, n))
		}
		h, err := d.m.ctx.GenerateKey(d.session, []*p11.Mechanism{p11.NewMechanism(d.c.Mechanism.Generate, nil)}, template)
		if err != nil {
			return err
		}
		if _, err := d.handle(k); err != nil { // attributes as asked for, not as hoped for
			return errors.Join(err, d.m.ctx.DestroyObject(d.session, h))
		}
		return nil
	})
}

// crypt runs one operation of the token. Callers hold mu, inside do.
func (d *device) crypt(k keys.KEK, encrypt bool, iv, aad, in []byte) ([]byte, error) {
	h, err := d.handle(k)
	if err != nil {
		return nil, err
	}
	var parameter any
	switch d.c.Mechanism.Mode {
	case GCM:
		p := p11.NewGCMParams(iv, aad, 128)
		defer p.Free()
		parameter = p
	case CBC:
		parameter = iv
	}
	m := []*p11.Mechanism{p11.NewMechanism(d.c.Mechanism.Cipher, parameter)}
	if encrypt {
		if err := d.m.ctx.EncryptInit(d.session, m, h); err != nil {
			return nil, err
		}
		out, err := d.m.ctx.Encrypt(d.session, in)
		if p, ok := parameter.(*p11.GCMParams); ok && err == nil {
			copy(iv, p.IV()) // some tokens choose it themselves
		}
		return out, err
	}
	if err := d.m.ctx.DecryptInit(d.session, m, h); err != nil {
		return nil, err
	}
	out, err := d.m.ctx.Decrypt(d.session, in)
	if refused(err) {
		return nil, keys.NotUnwrapped()
	}
	return out, err
}

// refused says whether the token looked at a ciphertext and would not have it.
func refused(err error) bool {
	for _, code := range []uint{p11.CKR_ENCRYPTED_DATA_INVALID, p11.CKR_ENCRYPTED_DATA_LEN_RANGE, p11.CKR_GENERAL_ERROR} {
		if errors.Is(err, p11.Error(code)) {
			return true
		}
	}
	return false
}

func (d *device) ivLen() int {
	switch d.c.Mechanism.Mode {
	case GCM:
		return 12
	case CBC:
		return 16
	}
	return 0
}

// Wrap gives IV ‖ ciphertext of the token, in an envelope where its mechanism binds no associated data.
func (d *device) Wrap(k keys.KEK, aad, key []byte) (out []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	draw := make([]byte, d.ivLen()+transportLen)
	if _, err := io.ReadFull(d.c.Rand, draw); err != nil {
		return nil, &sandbox.Error{Op: "pkcs11: wrap", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	iv, transport := draw[:d.ivLen()], draw[d.ivLen():]
	defer clear(transport)
	in, bound := key, aad
	if d.c.Mechanism.Mode != GCM {
		in, bound = transport, nil
	}
	err = d.do("nothing was wrapped", func() error {
		ct, err := d.crypt(k, true, iv, bound, in)
		out = slices.Concat(iv, ct)
		return err
	})
	if err != nil || d.c.Mechanism.Mode == GCM {
		return out, err
	}
	return envelope(transport, out, aad, key)
}

func (d *device) Unwrap(k keys.KEK, aad, wrapped []byte) (out []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, noToken(d.c.Token, "the device was closed", nil)
	}
	box, bound := wrapped, aad
	var sealed []byte
	if d.c.Mechanism.Mode != GCM {
		if box, sealed, err = split(wrapped); err != nil {
			return nil, err
		}
		bound = nil
	}
	n := d.ivLen()
	if len(box) <= n {
		return nil, keys.NotUnwrapped()
	}
	err = d.do("nothing was unwrapped", func() (err error) {
		out, err = d.crypt(k, false, box[:n], bound, box[n:])
		return err
	})
	if err != nil || d.c.Mechanism.Mode == GCM {
		return out, err
	}
	defer clear(out)
	return openEnvelope(out, box, sealed, aad)
}

// Destroyed is the result a certificate states. A certificate whose erasure a crash cut short is handed out after a search
// that shows no object.
const Destroyed = "C_DestroyObject; C_FindObjects afterwards: no such object"

func (d *device) Statement(k keys.KEK) (s keys.Statement, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.do("the object cannot be described", func() error {
		h, err := d.handle(k)
		if err != nil {
			return err
		}
		o, err := d.object(h)
		if err != nil {
			return err
		}
		o.Result = Destroyed
		s = keys.Statement{Driver: "pkcs11", Mechanism: d.c.Mechanism.full(), Object: &o,
			Proves: "the key-encrypting key, generated in the token and never extractable by the token's own account, was destroyed there",
			Remains: []string{"backups and clones of the token that its operator made outside PKCS#11", "whatever was unwrapped and copied while the key existed",
				"the token's attributes and its result are its own word; no attestation was verified"}}
		if strings.Contains(strings.ToLower(o.Manufacturer+" "+o.Model+" "+o.Module), "softhsm") {
			s.Remains = append(s.Remains, "SoftHSM is software: its objects are files, whose earlier copies and disk blocks are out of reach")
		}
		return nil
	})
	return s, err
}

func (d *device) Destroy(k keys.KEK) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.do("nothing was destroyed", func() error {
		h, err := d.handle(k)
		if err != nil {
			return err
		}
		if err := d.m.ctx.DestroyObject(d.session, h); err != nil {
			return err
		}
		delete(d.handles, k)
		if _, err := d.handle(k); !errors.Is(err, sandbox.NotFound) {
			return errors.Join(&sandbox.Error{Op: "pkcs11: destroy", Kind: sandbox.Unavailable, Object: d.label(k.ID()), Detail: "the token still shows the object"}, err)
		}
		return nil
	})
}

// Check asks the token and its mechanisms.
func (d *device) Check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.do("it does not answer", func() error {
		if _, err := d.m.ctx.GetSessionInfo(d.session); err != nil {
			return err
		}
		for _, n := range []uint{d.c.Mechanism.Generate, d.c.Mechanism.Cipher} {
			if _, err := d.m.ctx.GetMechanismInfo(d.slot, []*p11.Mechanism{p11.NewMechanism(n, nil)}); err != nil {
				return noToken(d.c.Token, fmt.Sprintf("it lacks mechanism %#x", n), err)
			}
		}
		return nil
	})
}

func (d *device) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.disconnect()
	d.closed = true
	clear(d.c.PIN)
}
