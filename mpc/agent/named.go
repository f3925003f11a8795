package agent

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/sandbox"
)

// A file of rows does not say of which dataset it is, and in which version. Where a question does, the owner says it of its file, in the
// flag that names it, and a run over any other than the question's is refused before the file is opened: owners approved of that version.

// named takes DATASET@VERSION= off what a flag gives; version 0 where it is not said.
func named(text string) (is sandbox.InputVersion, path string, ok bool) {
	of, path, ok := strings.Cut(text, "=")
	id, version, said := strings.Cut(of, "@")
	if !ok || path == "" || sandbox.CheckID("dataset", id) != nil {
		return is, "", false
	}
	is.Dataset = sandbox.DatasetID(id)
	if said {
		n, err := strconv.ParseUint(version, 10, 64)
		if err != nil || n == 0 || version != strconv.FormatUint(n, 10) {
			return is, "", false
		}
		is.Version = n
	}
	return is, path, true
}

// another is the refusal of a table that is not the question's.
func another(job sandbox.RunID, is, want sandbox.InputVersion) error {
	return &sandbox.Error{Op: "party: table", Kind: sandbox.Denied, Object: string(job),
		Detail: fmt.Sprintf("the own table is dataset %s, version %d, and the question is over dataset %s, version %d", is.Dataset, is.Version, want.Dataset, want.Version),
		Hint:   "bring the version that the question names, or have it asked anew of the one that is here"}
}

// tableFile gives the file of the own table at a place; where the question names datasets, what --table says of it is held to the question.
func (j *job) tableFile(text string, place int, p mpc.Plan) (string, error) {
	if j.join == nil || !j.join.Named() {
		return text, nil
	}
	_, t, _ := j.join.Table(place)
	want := sandbox.InputVersion{Dataset: t.Dataset, Version: t.Version}
	is, path, ok := named(text)
	if !ok || is.Version == 0 {
		return "", &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--table", Detail: fmt.Sprintf("the question names dataset %s, version %d: the owner says of its table which version of which dataset it is", want.Dataset, want.Version),
			Hint: "--table DATASET@VERSION=FILE", Err: errUsage}
	}
	if is != want {
		return "", another(p.Job, is, want)
	}
	return path, nil
}

// source gives the file or folder of input i, held to the version that the question names.
func (t *inputs) source(i int) (string, error) {
	id, want := t.line.Inputs()[i].ID, t.line.Version(i)
	x, ok := t.at[id]
	switch {
	case !ok:
		return "", sourceUsage("a source for each dataset that the setting says is held here: " + string(id))
	case want == 0 && x.version != 0:
		return "", sourceUsage("the question names no version of " + string(id) + ", and none is compared: DATASET=FILE or DATASET=vault:DIR")
	case want != 0 && x.version == 0 && !strings.HasPrefix(x.path, vaultSource): // a vault says itself what it has
		return "", sourceUsage(fmt.Sprintf("the question names version %d of %s: DATASET@VERSION=FILE says which one the file is", want, id))
	case x.version != 0 && x.version != want:
		return "", another(t.job, sandbox.InputVersion{Dataset: id, Version: x.version}, sandbox.InputVersion{Dataset: id, Version: want})
	}
	return x.path, nil
}
