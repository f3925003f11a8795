// Package canonical is the one encoding (规范编码) of what parties of a computation agree on: plans and questions. Owners sign a digest, and links
// begin with it, so that a value has one text and one digest: JSON as encoding/json writes it, fields in the order of the type, without
// spaces, its SM3 in lower-case hex. Parse takes that text and nothing else: another spelling of the same value, a field that is not known
// or stands twice, and bytes behind the value are Invalid. Whether the value means anything is for the Check of its type.
package canonical

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Encode gives the one encoding of a value of plain fields; nothing of one that JSON cannot hold, such as a year beyond 9999, which is then equal
// to no text.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// Digest is SM3 of the encoding in hex, as plans name it.
func Digest(v any) string {
	d := sm.Sum(Encode(v))
	return hex.EncodeToString(d[:])
}

// Parse reads a value of at most so many bytes. Invalid names what it is of (op) and what was to be read (object), never a value.
func Parse[T any](b []byte, most int, op, object string) (T, error) {
	var v, none T
	if len(b) > most {
		return none, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: object, Detail: fmt.Sprintf("at most %d KiB", most>>10)}
	}
	if json.Unmarshal(b, &v) != nil || len(b) == 0 || !bytes.Equal(Encode(v), b) {
		return none, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: object, Detail: "one JSON object with the known fields, in its one encoding"}
	}
	return v, nil
}
