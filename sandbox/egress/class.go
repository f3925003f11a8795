package egress

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed classes.json
var classes []byte

// Authority (出域依据) is on what something may leave.
type Authority string

const (
	ByReviewers Authority = "two-reviewers"     // 双人审批
	ByTemplate  Authority = "standing-template" // 常设模板
	ByConsent   Authority = "consent-receipt"   // 个人授权凭证
)

// Checklist (出域清单) is what must be true before an output of a class leaves, and on which authority. Produced says whether this
// domain makes outputs of the class; what it does not make is refused by name, with what to ask for instead.
type Checklist struct {
	Class     sandbox.Class `json:"class"`
	Name      string        `json:"name"`
	Term      string        `json:"term"`
	Produced  bool          `json:"produced"`
	Authority []Authority   `json:"authority"`
	Items     []CheckItem   `json:"items"`
	Instead   string        `json:"instead,omitempty"` // of a class that is not made here: the smallest change that would pass
}

// CheckItem (清单项) is one condition. By names where it is checked; an item without is one that no output of the class can meet yet.
type CheckItem struct {
	ID   string `json:"id"`
	Must string `json:"must"`
	Term string `json:"term"`
	By   string `json:"by,omitempty"`
}

// Checklists gives the checklists of all classes, A to F.
func Checklists() ([]Checklist, error) {
	var all []Checklist
	dec := json.NewDecoder(bytes.NewReader(classes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil {
		return nil, &sandbox.Error{Op: "egress: classes", Kind: sandbox.Internal, Object: "classes.json", Err: err}
	}
	return all, nil
}

// ChecklistOf gives the checklist of a class; an unknown class is Denied.
func ChecklistOf(c sandbox.Class) (Checklist, error) {
	all, err := Checklists()
	if err != nil {
		return Checklist{}, err
	}
	i := slices.IndexFunc(all, func(l Checklist) bool { return l.Class == c })
	if i < 0 {
		return Checklist{}, &sandbox.Error{Op: "egress: class", Kind: sandbox.Denied, Object: "class " + plainClass(c), Detail: "an unknown class never passes", Hint: "classes are A to F"}
	}
	return all[i], nil
}

// plainClass keeps what is no class out of an error.
func plainClass(c sandbox.Class) string {
	if len(c) == 1 && c[0] >= 'A' && c[0] <= 'Z' {
		return string(c)
	}
	return "unnamed"
}
