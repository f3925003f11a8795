package egress

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// form is what the gate knows of the payloads of a class. A class gets its form here and its checklist in classes.json; whoever checks its
// outputs makes a Product of what passed.
type form struct {
	// read reads a payload in its one encoding and gives the question it answers. Another encoding of the same is refused.
	read func(payload []byte) (sandbox.QuestionID, error)
	// scan looks into a payload that read takes for what must not leave in it, whoever made it.
	scan func(payload []byte) ([]scan.Hit, error)
	// guessed says that a payload is so small that its digest would tell it: releases salt it.
	guessed bool
}

// formOf gives the form of a class. An unknown class, and one without a form, is Denied by its name.
func formOf(c sandbox.Class) (form, error) {
	switch c {
	case sandbox.ClassA:
		return form{read: readResult, scan: scanResult}, nil
	case sandbox.ClassB:
		return form{read: readRecord, scan: scanRecord, guessed: true}, nil
	case sandbox.ClassD:
		return form{read: readModel, scan: scanModel}, nil
	case sandbox.ClassE:
		return form{read: readDataset, scan: scanDataset}, nil
	case sandbox.ClassF:
		return form{read: readChart, scan: scanChart}, nil
	}
	list, err := ChecklistOf(c)
	if err != nil {
		return form{}, err
	}
	return form{}, &sandbox.Error{Op: "egress: class", Kind: sandbox.Denied, Object: "class " + plainClass(c), Detail: "a class without a form never leaves: " + list.Name + " " + list.Term, Hint: list.Instead}
}

// Read reads outgoing bytes in the one encoding of their class and gives the question they answer.
func Read(c sandbox.Class, payload []byte) (sandbox.QuestionID, error) {
	f, err := formOf(c)
	if err != nil {
		return "", err
	}
	return f.read(payload)
}

// Guessed says whether the payloads of a class are so small that a digest would tell them.
func Guessed(c sandbox.Class) bool {
	f, err := formOf(c)
	return err == nil && f.guessed
}

// Formed says whether outputs of a class have a form, so that they may leave.
func Formed(c sandbox.Class) bool {
	_, err := formOf(c)
	return err == nil
}

// Scan looks into outgoing bytes once more, at the way out, whoever made them: of class A for every identifier; of class B, where the
// consented fields may be the person's own, for what is in a code, which no field template has; of others as their form says. A class
// without a form is refused.
func Scan(class sandbox.Class, question sandbox.QuestionID, payload []byte) error {
	f, err := formOf(class)
	if err != nil {
		return err
	}
	hits, err := f.scan(payload)
	if err != nil {
		return err
	}
	if len(hits) > 0 {
		return quarantined(string(question), class, hits)
	}
	return nil
}

// checked says whether a checklist is held in every item: each of its items once, nothing else, all passed. It names the first that is not.
func (l Checklist) checked(items []ItemResult) string {
	for _, want := range l.Items {
		switch at := slices.IndexFunc(items, func(x ItemResult) bool { return x.ID == want.ID }); {
		case at < 0:
			return "item " + want.ID + " of the checklist was not checked: " + want.Must
		case !items[at].Pass:
			return "item " + want.ID + " of the checklist: " + items[at].EN
		}
	}
	if len(items) != len(l.Items) {
		return "an item that the checklist does not have"
	}
	return ""
}
