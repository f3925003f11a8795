package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

//go:embed maps/*.json
var shippedMaps embed.FS

// story maps a user's tables onto the main job: which files fill which roles, how they are described, what the scenario
// lists and what is asked. The shipped maps are examples of the format.
type story struct {
	Title   string             `json:"title"`
	Units   []storyUnit        `json:"units"`
	Tables  []storyTable       `json:"tables"`
	List    []sandbox.ListItem `json:"list"`    // data list of the statistics scenario
	Fine    query.Spec         `json:"fine"`    // asked first: some groups are too small
	Coarse  query.Spec         `json:"coarse"`  // asked second: passes; then asked again without one person
	Probe   string             `json:"probe"`   // alias.column, public: a value that one person alone has is filtered out
	Outside string             `json:"outside"` // alias.column that is not in the list
	Claim   storyClaim         `json:"claim"`

	name string
}

type storyUnit struct {
	ID   sandbox.PartyID `json:"id"`
	Name string          `json:"name"`
}

type storyTable struct {
	Role    string             `json:"role"`
	File    string             `json:"file"`
	Mapping connectors.Mapping `json:"mapping,omitzero"`
	Dataset catalog.Dataset    `json:"dataset"`
}

type storyClaim struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Number  string            `json:"number"`
	Fields  []string          `json:"fields"`
}

// neededRoles are the tables without which there is no story.
var neededRoles = []string{"persons", "claims"}

func storyError(object, rule, hint string) error {
	return &sandbox.Error{Op: "map", Kind: sandbox.Invalid, Object: object, Detail: rule, Hint: hint}
}

// shippedNames lists the maps that come with the program.
func shippedNames() []string {
	entries, _ := shippedMaps.ReadDir("maps")
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".json"))
	}
	return names
}

// loadStory reads a shipped map by name or a map file by path.
func loadStory(name string) (*story, error) {
	b, err := shippedMaps.ReadFile("maps/" + name + ".json")
	if err != nil {
		if b, err = os.ReadFile(name); err != nil {
			return nil, &sandbox.Error{Op: "map", Kind: sandbox.NotFound, Object: name, Detail: "neither a shipped map nor a readable file",
				Hint: "shipped maps: " + strings.Join(shippedNames(), ", ")}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	s := &story{name: name}
	if err := dec.Decode(s); err != nil {
		return nil, storyError(name, fmt.Sprintf("fault near byte %d: a map is one JSON object with the fields of the shipped examples", dec.InputOffset()),
			"start from a shipped map: "+strings.Join(shippedNames(), ", "))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, storyError(name, "nothing follows the map", "")
	}
	return s, s.check()
}

func (s *story) check() error {
	for _, role := range neededRoles {
		if !slices.ContainsFunc(s.Tables, func(t storyTable) bool { return t.Role == role }) {
			return storyError(s.name, fmt.Sprintf("no table has the role %q", role), "the story needs the roles "+strings.Join(neededRoles, " and "))
		}
	}
	if len(s.Units) < 2 {
		return storyError(s.name, "two source units or more", "")
	}
	for i := range s.Tables {
		t := &s.Tables[i]
		if err := t.Dataset.Validate(); err != nil {
			return fmt.Errorf("map %s: table %s: %w", s.name, t.Role, err)
		}
		if err := t.Mapping.Check(&t.Dataset); err != nil {
			return fmt.Errorf("map %s: table %s: %w", s.name, t.Role, err)
		}
		if !slices.ContainsFunc(s.Units, func(u storyUnit) bool { return u.ID == t.Dataset.Unit }) {
			return storyError(s.name, fmt.Sprintf("the unit of table %q is not among the units", t.Role), "")
		}
	}
	if _, ok := s.dataset(s.Claim.Dataset); !ok {
		return storyError(s.name, "claim.dataset is one of the tables' datasets", "")
	}
	for _, ref := range []string{s.Probe, s.Outside} {
		if _, _, err := s.resolve(ref); err != nil {
			return err
		}
	}
	return nil
}

func isFolder(dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return &sandbox.Error{Op: "data", Kind: sandbox.NotFound, Object: dir, Detail: "not a folder", Hint: "name the folder that holds the CSV tables"}
	}
	return nil
}

// find checks that every table of the story is in dir.
func (s *story) find(dir string) error {
	if err := isFolder(dir); err != nil {
		return err
	}
	for _, t := range s.Tables {
		if _, err := os.Stat(filepath.Join(dir, t.File)); err != nil {
			return &sandbox.Error{Op: "data", Kind: sandbox.NotFound, Object: filepath.Join(dir, t.File),
				Detail: fmt.Sprintf("map %s wants this table for the role %q", s.name, t.Role), Hint: "add the file, or name another map with --map"}
		}
	}
	return nil
}

func (s *story) dataset(id sandbox.DatasetID) (*storyTable, bool) {
	for i := range s.Tables {
		if s.Tables[i].Dataset.ID == id {
			return &s.Tables[i], true
		}
	}
	return nil, false
}

func (s *story) table(role string) *storyTable {
	for i := range s.Tables {
		if s.Tables[i].Role == role {
			return &s.Tables[i]
		}
	}
	return nil
}

// resolve finds the table and column of an "alias.column" of the fine question.
func (s *story) resolve(ref string) (*storyTable, string, error) {
	alias, column, _ := strings.Cut(ref, ".")
	for _, in := range s.Fine.Inputs {
		if in.Alias != alias {
			continue
		}
		if t, ok := s.dataset(in.Dataset); ok {
			if _, ok := t.Dataset.Column(column); ok {
				return t, column, nil
			}
		}
	}
	return nil, "", storyError(s.name, "probe and outside are alias.column of an input of the fine question", "")
}
