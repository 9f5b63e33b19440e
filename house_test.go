package main

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rules of the house (design page "The house"), proven from `go list -json ./...` and from the source.

const module = "evenkeel"

// goPackage is what go list tells of one package.
type goPackage struct {
	ImportPath   string
	Dir          string
	Name         string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var list []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

// cores are the packages that hold decisions only: values in, values out.
var cores = []string{
	"ha", "ha/beat", "ha/place", "ha/arp",
	"replication", "replication/wire", "replication/dirty", "replication/activity",
}

// forbiddenInCores is what touches the world. net/netip and the types of time are fine.
var forbiddenInCores = []string{
	"net", "os", "sync", "sync/atomic", "context", "log", "log/slog", "io/fs", "os/exec", "math/rand", "math/rand/v2",
	"crypto/rand", "syscall", "golang.org/x/sys/unix", "database/sql",
}

// mayImport says, for the packages of ours, which packages of ours they may import (path.Match patterns). Arrows go down only; a package that is
// not listed fails the test until somebody decides where it stands.
var mayImport = []struct {
	who  string
	what []string
}{
	{"", []string{"*", "*/*", "*/*/*"}},
	{"cli", []string{"ha", "ha/control", "replication/control"}},
	{"lab", []string{"ha", "ha/config", "ha/control", "ha/mount", "ha/supervise", "replication/control", "replication/volume", "store", "lab/*"}},
	{"lab/*", []string{"lab", "lab/*", "ha", "ha/control", "replication/control"}},
	{"web", []string{"handlers", "templates", "static", "store", "ha", "ha/config", "ha/control"}},
	{"handlers", []string{"templates", "ha", "ha/control", "replication/control"}},
	{"templates", nil},
	{"static", nil},
	{"migrations", nil},
	{"store", []string{"ha", "ha/control", "migrations"}},
	{"ha", nil},
	{"ha/beat", []string{"ha"}},
	{"ha/place", []string{"ha"}},
	{"ha/arp", nil},
	{"ha/arp/arpsocket", []string{"ha/arp"}},
	{"ha/config", nil},
	{"ha/control", []string{"ha"}},
	{"ha/link", []string{"ha", "ha/beat"}},
	{"ha/link/linktest", []string{"ha", "ha/link"}},
	{"ha/heart", []string{"ha", "ha/beat", "ha/link"}},
	{"ha/address", []string{"ha", "ha/arp", "ha/arp/arpsocket"}},
	{"ha/address/addresstest", []string{"ha", "ha/address"}},
	{"ha/check", []string{"ha", "ha/arp", "ha/arp/arpsocket"}},
	{"ha/mount", nil},
	{"ha/service", []string{"ha", "ha/config", "ha/place"}},
	{"ha/service/servicetest", []string{"ha/service", "ha/config"}},
	{"ha/peer", []string{"ha", "ha/control"}},
	{"ha/supervise", nil},
	{"ha/engine", []string{"ha", "ha/beat", "ha/address", "ha/check", "ha/config", "ha/control", "ha/heart", "ha/mount", "ha/peer", "ha/place", "ha/service"}},
	{"ha/sim", []string{"ha"}},
	{"replication", nil},
	{"replication/control", nil},
	{"replication/wire", []string{"replication"}},
	{"replication/dirty", []string{"replication"}},
	{"replication/activity", []string{"replication"}},
	{"replication/disk", nil},
	{"replication/disk/faulty", []string{"replication/disk"}},
	{"replication/disk/disktest", []string{"replication/disk"}},
	{"replication/meta", []string{"replication", "replication/disk", "replication/dirty", "replication/activity"}},
	{"replication/export", nil},
	{"replication/volume", []string{"replication", "replication/*", "replication/disk/faulty"}},
	{"replication/sim", []string{"replication", "replication/*", "replication/disk/*"}},
}

func TestArrows(t *testing.T) {
	for _, p := range listPackages(t) {
		who := ours(p.ImportPath)
		rule := slices.IndexFunc(mayImport, func(r struct {
			who  string
			what []string
		}) bool {
			ok, _ := path.Match(r.who, who)
			return ok
		})
		if rule < 0 {
			t.Errorf("%s: the house has no room for this package: decide where it stands in mayImport", who)
			continue
		}
		for _, imp := range p.Imports {
			if what, own := strings.CutPrefix(imp, module+"/"); own && !matchesAny(mayImport[rule].what, what) {
				t.Errorf("%s imports %s: arrows go down only", who, what)
			}
			if slices.Contains(cores, who) && slices.Contains(forbiddenInCores, imp) {
				t.Errorf("%s is a pure core and imports %s", who, imp)
			}
			if testOnly(imp) {
				t.Errorf("%s imports %s outside a test", who, imp)
			}
		}
	}
}

func ours(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

func matchesAny(patterns []string, what string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, what)
		return ok
	})
}

// testOnly says whether a package of ours is for tests: the simulated worlds and helpers named NAMEtest.
func testOnly(imp string) bool {
	base, dir := path.Base(imp), path.Base(path.Dir(imp))
	return strings.HasPrefix(imp, module+"/") && (base == "sim" || base == dir+"test")
}

const (
	functionLinesMax = 70
	fileLinesMax     = 500
)

// TestSource holds the yardsticks that can be measured: documented packages and exported names, no clock or goroutine in a core, short
// functions and files.
func TestSource(t *testing.T) {
	for _, p := range listPackages(t) {
		documented := p.Name == "main"
		for _, name := range p.GoFiles {
			file := filepath.Join(p.Dir, name)
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if ast.IsGenerated(f) {
				continue
			}
			documented = documented || f.Doc != nil
			checkFile(t, fset, f, slices.Contains(cores, ours(p.ImportPath)))
		}
		if !documented {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func checkFile(t *testing.T, fset *token.FileSet, f *ast.File, core bool) {
	t.Helper()
	if n := fset.Position(f.End()).Line; n > fileLinesMax {
		t.Errorf("%s has %d lines, at most %d", fset.Position(f.Pos()).Filename, n, fileLinesMax)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		where := func() token.Position { return fset.Position(n.Pos()) }
		switch n := n.(type) {
		case *ast.FuncDecl:
			if lines := fset.Position(n.End()).Line - where().Line + 1; lines > functionLinesMax {
				t.Errorf("%v: %s has %d lines, at most %d", where(), n.Name.Name, lines, functionLinesMax)
			}
			if n.Name.IsExported() && n.Doc == nil && exportedReceiver(n) {
				t.Errorf("%v: %s is exported and not documented", where(), n.Name.Name)
			}
		case *ast.GoStmt:
			if core {
				t.Errorf("%v: a goroutine in a core", where())
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); core && ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "After", "Sleep", "NewTimer", "NewTicker"}, n.Sel.Name) {
				t.Errorf("%v: time.%s in a core", where(), n.Sel.Name)
			}
		case *ast.GenDecl:
			checkTypes(t, fset, n)
		}
		return true
	})
}

// exportedReceiver says whether a function, or the type of its receiver, is exported.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return true
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

func checkTypes(t *testing.T, fset *token.FileSet, d *ast.GenDecl) {
	t.Helper()
	for _, s := range d.Specs {
		if ts, ok := s.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
			t.Errorf("%v: type %s is exported and not documented", fset.Position(ts.Pos()), ts.Name.Name)
		}
	}
}

// topLevel are the folders that the user fixed and those that the house adds.
var topLevel = []string{
	".ci", ".git", "web", "handlers", "store", "ha", "replication", "templates", "static", "migrations",
	"cli", "lab", "docs", "packaging", "bin", "out",
}

// TestTopLevel keeps the first floor as it was agreed.
func TestTopLevel(t *testing.T) {
	entries, err := fs.ReadDir(os.DirFS("."), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(topLevel, e.Name()) {
			t.Errorf("folder %s is not of this house", e.Name())
		}
	}
}
