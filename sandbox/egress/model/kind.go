package model

import (
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Kind (模型种类) is a form of model that may come before the gate. The set is closed.
type Kind string

// The kinds.
const (
	Linear    Kind = "linear"    // 线性回归
	Logistic  Kind = "logistic"  // 逻辑回归
	Poisson   Kind = "poisson"   // 泊松回归, log link
	Gamma     Kind = "gamma"     // 伽马回归, log link
	Scorecard Kind = "scorecard" // 评分卡: logistic regression over weights of evidence
	Tree      Kind = "tree"      // 决策树
	Forest    Kind = "forest"    // 随机森林: the mean of its trees
	Boosted   Kind = "boosted"   // 梯度提升树: the sum of its trees, logit link
)

// Kinds lists them.
func Kinds() []Kind {
	return []Kind{Linear, Logistic, Poisson, Gamma, Scorecard, Tree, Forest, Boosted}
}

// trees says whether a kind is made of trees.
func (k Kind) trees() bool { return k == Tree || k == Forest || k == Boosted }

// probability says whether a kind predicts the probability of a binary label.
func (k Kind) probability(l Label) bool {
	return k == Logistic || k == Scorecard || k == Boosted || l.Form == Binary && (k == Tree || k == Forest)
}

// stores are kinds that are refused by name, with why: they keep rows of the people they were trained on, or have no bounded form.
// Source: SACRO-ML, which refuses instance-based models.
var stores = map[string]string{
	"svm":              "a support vector machine keeps the rows of its support vectors",
	"svc":              "a support vector machine keeps the rows of its support vectors",
	"svr":              "a support vector machine keeps the rows of its support vectors",
	"knn":              "nearest neighbours keep every row",
	"gaussian-process": "a Gaussian process keeps every row of its training",
	"gp":               "a Gaussian process keeps every row of its training",
	"kernel":           "a kernel machine keeps rows of its training",
	"rbf":              "a radial basis network keeps rows as its centres",
	"lookup":           "a look-up table is its rows",
	"neural-network":   "weights of a network have no bounded form that could be read",
	"pickle":           "an object of a programming language may hold anything",
	"onnx":             "a graph of operators may hold anything",
	"pmml":             "PMML also writes models that keep rows; give it in this format",
}

// checkKind says whether a kind may come before the gate; what is refused is told why.
func checkKind(s string) error {
	for _, k := range Kinds() {
		if string(k) == s {
			return nil
		}
	}
	if why, ok := stores[strings.ToLower(s)]; ok {
		return &sandbox.Error{Op: "model", Kind: sandbox.Denied, Object: "kind", Detail: why, Hint: "kinds that may leave are " + kindNames()}
	}
	return &sandbox.Error{Op: "model", Kind: sandbox.Denied, Object: "kind", Detail: "an unknown kind of model never leaves", Hint: "kinds that may leave are " + kindNames()}
}

func kindNames() string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}
