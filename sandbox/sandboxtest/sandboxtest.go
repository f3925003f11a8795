// Package sandboxtest is what tests of several packages share (测试公用件): properties over random draws that go on until every kind was drawn, and
// what a test says when something outside of the project is absent. Tests alone import it.
package sandboxtest

import (
	"os"
	"path/filepath"
	"testing"
)

// Missing ends a test for which something outside of the project is absent: it skips aloud, and fails where OPDOMAIN_REQUIRE is all.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("OPDOMAIN_REQUIRE") == "all" {
		t.Fatalf("%s; OPDOMAIN_REQUIRE=all wants it", what)
	}
	t.Skip("SKIPPED ALOUD: " + what)
}

// Data gives a folder of the reference data that OPDOMAIN_DATA names; where it is absent, without says what was not shown.
func Data(t testing.TB, folder, without string) string {
	t.Helper()
	root := os.Getenv("OPDOMAIN_DATA")
	dir := filepath.Join(root, folder)
	if _, err := os.Stat(dir); root == "" || err != nil {
		Missing(t, "OPDOMAIN_DATA names no folder with "+folder+"; "+without)
	}
	return dir
}
