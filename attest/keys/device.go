package keys

import (
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Device (密码设备) holds the key-encrypting keys (密钥加密密钥). Implementations pass the contract suite of package keystest and
// are safe for concurrent use. Wrapped keys are 64 bytes: a key and its blind.
//
// Errors: NotFound for a KEK that is not there, Conflict for one that is there already, Tampered for what does not unwrap
// under this KEK and associated data, Unavailable for a device that does not answer, also after Close.
type Device interface {
	// Describe says what the device is, for headers and certificates; no secrets.
	Describe() Description
	// Generations gives the generations of a KEK that exist, ascending.
	Generations(name sandbox.KeyID) ([]uint32, error)
	// Generate makes a random KEK inside the device, durable when it returns.
	Generate(KEK) error
	// Wrap encrypts a key bound to associated data.
	Wrap(kek KEK, aad, key []byte) ([]byte, error)
	// Unwrap opens what Wrap made for the same KEK and associated data.
	Unwrap(kek KEK, aad, wrapped []byte) ([]byte, error)
	// Statement says, before a KEK is destroyed, what Destroy returning nil will prove about it.
	Statement(KEK) (Statement, error)
	// Destroy ends a KEK for good. Destroying the last but one root first moves what the device keeps under it to the
	// newest. It cannot be undone.
	Destroy(KEK) error
	// Check says whether the device answers.
	Check() error
	Close()
}

// Description (设备说明) names a device as headers and certificates do.
type Description struct {
	Driver    string // passphrase | pkcs11
	Mechanism string // of the wrapping: SM4-GCM, AES-256-GCM, …
	Erases    bool   // a destroyed KEK was an object of a device, not a file
	Exports   bool   // the root can be exported for a threshold backup
}

// KEK (密钥加密密钥) names one generation of a key-encrypting key: "root", "unit-<unit>" or "own-<version key>".
type KEK struct {
	Name       sandbox.KeyID
	Generation uint32 // from 1
}

// ID is the name, with "~" and the generation from the second on: '~' is in no identifier.
func (k KEK) ID() sandbox.KeyID { return generation(k.Name, k.Generation) }

func generation(name sandbox.KeyID, n uint32) sandbox.KeyID {
	if n == 1 {
		return name
	}
	return name + "~" + sandbox.KeyID(strconv.FormatUint(uint64(n), 10))
}

// parseKEK reads an ID in its one form.
func parseKEK(id sandbox.KeyID) (KEK, bool) {
	k := KEK{Name: id, Generation: 1}
	if name, n, ok := strings.Cut(string(id), "~"); ok {
		g, err := strconv.ParseUint(n, 10, 32)
		if err != nil || g < 2 {
			return KEK{}, false
		}
		k = KEK{Name: sandbox.KeyID(name), Generation: uint32(g)}
	}
	return k, k.ID() == id && checkName(k.Name) == nil
}

// checkName is CheckID for the part behind the prefix: a unit's identifier may be as long as identifiers get.
func checkName(name sandbox.KeyID) error {
	s := string(name)
	if rest, ok := strings.CutPrefix(s, "unit-"); ok {
		s = rest
	}
	return sandbox.CheckID("key", s)
}

// Statement (销毁陈述) is what a device can say about the end of a KEK. The words are those of the certificate.
type Statement struct {
	Driver    string   `json:"driver"`
	Mechanism string   `json:"mechanism"`
	Proves    string   `json:"proves"`
	Remains   []string `json:"remains"` // what the device cannot reach
	Object    *Object  `json:"object,omitempty"`
}

// ProcedureOnly is what destroying files proves.
const ProcedureOnly = "procedure only"

// Object (设备内密钥对象) is a KEK as the token described it before it was destroyed, and how it ended.
type Object struct {
	Module           string `json:"module"`       // of C_GetInfo: library and its version
	Manufacturer     string `json:"manufacturer"` // of the token
	Model            string `json:"model"`
	Token            string `json:"token"` // label
	Serial           string `json:"serial"`
	Label            string `json:"label"`
	ID               string `json:"id"` // CKA_ID, hex
	Local            bool   `json:"local"`
	Sensitive        bool   `json:"sensitive"`
	AlwaysSensitive  bool   `json:"always_sensitive"`
	Extractable      bool   `json:"extractable"`
	NeverExtractable bool   `json:"never_extractable"`
	Result           string `json:"result"` // the certificate is handed out only if this is what happened
}

func tampered(path string) error {
	return &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: path, Detail: "the key file was changed", Hint: "restore it from a backup"}
}

func unavailable(verb, object string, err error) error {
	return &sandbox.Error{Op: "keys: " + verb, Kind: sandbox.Unavailable, Object: object, Err: err}
}

const wrappedKey = "wrapped key"

// NotUnwrapped is the one error of a device for a wrapped key that does not open under this KEK and associated data.
func NotUnwrapped() error {
	return &sandbox.Error{Op: "keys: unwrap", Kind: sandbox.Tampered, Object: wrappedKey, Detail: "it does not open under this KEK and header"}
}
