package keys

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextErasure is what the domain signs an Erasure under.
const ContextErasure = "opdomain/erasure/v1"

// Erasure (密钥销毁证明) says what was done to a key and what was not. The body is signed by the domain.
type Erasure struct {
	Key        sandbox.KeyID      `json:"key"`
	Version    Version            `json:"version"`
	Commitment []byte             `json:"commitment"`
	Approver   sandbox.IdentityID `json:"approver"`
	At         time.Time          `json:"at"`
	Proves     string             `json:"proves"`  // "procedure only" for this driver
	Remains    []string           `json:"remains"` // what the driver cannot reach
	Signature  []byte             `json:"signature,omitempty"`
}

// Destroy removes a version key's file after overwriting it, forgets the key, and certifies exactly that. approver and at
// are what the certificate says; whether the approver may is the caller's matter.
func (f *File) Destroy(id sandbox.KeyID, approver sandbox.IdentityID, at time.Time) (Erasure, error) {
	if err := sandbox.CheckID("approver", string(approver)); err != nil {
		return Erasure{}, err
	}
	if at.IsZero() {
		return Erasure{}, &sandbox.Error{Op: "keys: destroy", Kind: sandbox.Invalid, Object: string(id), Detail: "an erasure has a time"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Read from the file even if the key is in memory: the certificate states an authenticated version.
	k, v, err := f.version(id)
	if err != nil {
		return Erasure{}, err
	}
	defer k.forget()
	e := Erasure{Key: id, Version: v, Commitment: k.commitment[:], Approver: approver, At: at.UTC(), Proves: "procedure only",
		Remains: []string{"copies of the folder made before (backups, snapshots)", "blocks a file system or disk keeps after overwriting", "pages of memory the runtime copied"}}
	body, err := json.Marshal(e)
	if err != nil {
		return Erasure{}, &sandbox.Error{Op: "keys: destroy", Kind: sandbox.Invalid, Object: string(id), Detail: "a time of the years 0 to 9999", Err: err}
	}
	// Signed before and handed out after the erasure: a key is never gone without its certificate for want of randomness.
	if e.Signature, err = f.signing.Sign(f.rand, ContextErasure, body); err != nil {
		return Erasure{}, err
	}
	if held := f.versions[id]; held != nil {
		held.forget()
		delete(f.versions, id)
	}
	path := filepath.Join(f.dir, string(id)+suffix)
	if err := overwrite(path); err != nil {
		return Erasure{}, unavailable("destroy", string(id), err)
	}
	if err := os.Remove(path); err != nil {
		return Erasure{}, unavailable("destroy", string(id), err)
	}
	if err := durable.SyncDir(f.dir); err != nil {
		return Erasure{}, unavailable("destroy", string(id), err)
	}
	return e, nil
}

// Verify checks an erasure's signature.
func (e Erasure) Verify(domain *sm.VerifyKey) error {
	sig := e.Signature
	e.Signature = nil
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return domain.Verify(ContextErasure, body, sig)
}
