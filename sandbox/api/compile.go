package api

import (
	"encoding/json"
	"net/http"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// SQLRequest (SQL 查询文本) is a question in SQL, for a scenario and purpose.
type SQLRequest struct {
	Scenario sandbox.ScenarioID `json:"scenario"`
	Purpose  string             `json:"purpose"`
	Text     string             `json:"text"`
}

// Compiled (编译结果) is the question a text asks, with the same question as SQL in full, or why it asks none. It is advice: asked is
// the Spec that the asker signs.
type Compiled struct {
	Spec    *query.Spec `json:"spec,omitempty"`
	Text    string      `json:"text,omitempty"`
	Refusal *SQLRefusal `json:"refusal,omitempty"`
}

// SQLRefusal (不予编译) says where a text is no question, by which rule, and the nearest form that is one.
type SQLRefusal struct {
	Code      string `json:"code"`
	Construct string `json:"construct"`
	Line      int    `json:"line"`   // from 1
	Column    int    `json:"column"` // in characters, from 1
	Rule      string `json:"rule"`
	Change    string `json:"change"`
}

// Compiler (编译器) turns a text into a question over the datasets its asker may see. It runs in the front end: neither this
// package nor the Core's process has one.
type Compiler func(r SQLRequest, in map[sandbox.DatasetID]catalog.Dataset) Compiled

const routeCompile = "POST /v1/questions/sql"

// CompileQuestion gives what the front end compiles with: the datasets the caller may see. The text is covered by the caller's
// signature and is not looked at here.
func (o operations) CompileQuestion(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, o.config.Service.Datasets)
}

func noCompiler() error {
	return &sandbox.Error{Op: "compile", Kind: sandbox.Unavailable, Object: "SQL", Detail: "this front end compiles no SQL", Hint: "compile it where you are: opdomain query explain --sql TEXT; or write the question as JSON"}
}

// compile makes the answer to a text out of the Core's, which says that the caller may ask and over what.
func (s *Server) compile(body []byte, a Answer) (Answer, error) {
	if a.Status != http.StatusOK {
		return a, nil
	}
	if s.config.Compile == nil {
		return Refuse(noCompiler()), noCompiler()
	}
	var r SQLRequest
	if err := decode(body, &r); err != nil {
		return Refuse(err), err
	}
	for what, id := range map[string]string{"scenario": string(r.Scenario), "purpose": r.Purpose} {
		if err := sandbox.CheckID(what, id); err != nil {
			return Refuse(err), err
		}
	}
	var sets []catalog.Dataset
	if err := json.Unmarshal(a.Body, &sets); err != nil {
		err := &sandbox.Error{Op: "compile", Kind: sandbox.Internal, Object: "datasets", Detail: "the core answered in another form"}
		return Refuse(err), err
	}
	in := make(map[sandbox.DatasetID]catalog.Dataset, len(sets))
	for _, d := range sets {
		in[d.ID] = d
	}
	b, err := json.Marshal(s.config.Compile(r, in))
	if err != nil {
		err := &sandbox.Error{Op: "compile", Kind: sandbox.Internal, Detail: "the result has no JSON form"}
		return Refuse(err), err
	}
	return Answer{Status: http.StatusOK, ContentType: typeJSON, Body: b}, nil
}
