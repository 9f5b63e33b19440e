package main

import (
	"context"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"evenkeel/cli"
	"evenkeel/ha"
	"evenkeel/ha/config"
	"evenkeel/ha/control"
	"evenkeel/lab"
)

// The documents say what the program does: whatever can be read out of the code is compared with the page that lists it.

const reference = "docs/reference/"

func readPage(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// missing reports what a page does not mention.
func missing(t *testing.T, page string, wanted []string) {
	t.Helper()
	if len(wanted) == 0 {
		t.Fatalf("nothing was found in the code to compare %s with", page)
	}
	text := readPage(t, page)
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not mention %s", page, w)
		}
	}
}

// TestDocsCommands: every command and every flag of the command line is in the reference.
func TestDocsCommands(t *testing.T) {
	part := lab.Commands()
	if code := cli.Main(context.Background(), cli.Deps{Lab: part, Version: "test"}, []string{"--version"}); code != control.ExitDone {
		t.Fatalf("the command line does not start: exit code %d", code)
	}
	text := readPage(t, reference+"command-line.md")
	for _, c := range commandsOf(part.Root()) {
		named := regexp.MustCompile("`" + regexp.QuoteMeta(c.CommandPath()) + "( [^`]*)?`")
		if c.HasParent() && !named.MatchString(text) {
			t.Errorf("the command line's page does not have `%s`", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(text, "--"+f.Name) {
				t.Errorf("the command line's page does not have --%s of `%s`", f.Name, c.CommandPath())
			}
		})
	}
}

// commandsOf is a command with everything below it that is not hidden.
func commandsOf(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			list = append(list, commandsOf(sub)...)
		}
	}
	return list
}

// TestDocsConditions: every condition that the decision or the engine declares has its line.
func TestDocsConditions(t *testing.T) {
	var wanted []string
	for code := range conditionCodes(t) {
		wanted = append(wanted, "| `"+code+"` |")
	}
	if len(wanted) < 25 {
		t.Fatalf("only %d conditions were found in the code", len(wanted))
	}
	missing(t, reference+"conditions.md", wanted)
}

// conditionCodes are the codes in literals of ha.Condition, and the first argument of the helpers that make one.
func conditionCodes(t *testing.T) map[string]bool {
	t.Helper()
	codes := map[string]bool{}
	for _, v := range []ha.PeerVerdict{ha.PeerSuspect, ha.PeerSick, ha.PeerDead, ha.PeerUnknown} {
		codes["peer."+string(v)] = true
	}
	engine, err := filepath.Glob("ha/engine/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(engine, "ha/conditions.go") {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if code := conditionCode(n); code != "" {
				codes[code] = true
			}
			return true
		})
	}
	return codes
}

// conditionCode is the code that one node of the syntax gives to a condition; "" = none.
func conditionCode(n ast.Node) string {
	switch x := n.(type) {
	case *ast.CompositeLit:
		if name := typeName(x.Type); name != "Condition" || len(x.Elts) == 0 {
			return ""
		}
		first := x.Elts[0]
		if pair, ok := first.(*ast.KeyValueExpr); ok {
			first = pair.Value
		}
		return dotted(first)
	case *ast.CallExpr:
		if name, ok := x.Fun.(*ast.Ident); ok && (name.Name == "put" || name.Name == "add") && len(x.Args) > 1 {
			return dotted(x.Args[0])
		}
	}
	return ""
}

func typeName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// dotted is a string literal; "" for anything else.
func dotted(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// rewrite makes the table of the reasons new: go test -run TestDocsReasons . -rewrite
var rewrite = flag.Bool("rewrite", false, "write the tables of docs/ that are made from the code")

// TestDocsReasons: every reason stands there with the sentence that the program says.
func TestDocsReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "ha/reasons.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || typeName(spec.Type) != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			r := ha.Reason(dotted(v))
			lines = append(lines, "| `"+string(r)+"` | "+r.Text()+" |")
		}
		return true
	})
	const page = reference + "reasons.md"
	if *rewrite {
		rewriteTable(t, page, "| code | sentence |\n|---|---|\n", lines)
	}
	missing(t, page, lines)
	if t.Failed() {
		t.Log("the table is made from the code by: go test -run TestDocsReasons . -rewrite")
	}
}

// rewriteTable replaces the lines of the table that has this head.
func rewriteTable(t *testing.T, page, head string, lines []string) {
	t.Helper()
	before, rest, found := strings.Cut(readPage(t, page), head)
	if !found {
		t.Fatalf("%s has no table with the head %q", page, head)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	text := before + head + strings.Join(lines, "\n") + "\n\n" + after
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDocsFields: every setting, every field of the status and every key that root may write is in its page.
func TestDocsFields(t *testing.T) {
	missing(t, reference+"settings.md", quoted(paths(reflect.TypeFor[ha.Settings](), "json", "")))
	missing(t, reference+"configuration.md", quoted(paths(reflect.TypeFor[config.Node](), "toml", "")))
	missing(t, reference+"configuration.md", quoted(paths(reflect.TypeFor[config.Service](), "toml", "")))
	var names []string
	for _, path := range paths(reflect.TypeFor[control.Status](), "json", "") {
		names = append(names, path[strings.LastIndexByte(path, '.')+1:])
	}
	missing(t, reference+"status.md", names)
}

func quoted(names []string) (list []string) {
	for _, n := range names {
		list = append(list, "`"+n+"`")
	}
	return list
}

// paths are the names of all leaves of a struct, as the tag spells them: general.references[].name.
func paths(x reflect.Type, tag, prefix string) (list []string) {
	for i := range x.NumField() {
		f := x.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case name == "-":
			continue
		case f.Anonymous && name == "":
			list = append(list, paths(inner, tag, prefix)...)
			continue
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct && ofModule(inner.Elem()):
			list = append(list, paths(inner.Elem(), tag, prefix+name+"[].")...)
			continue
		case inner.Kind() == reflect.Struct && ofModule(inner):
			list = append(list, paths(inner, tag, prefix+name+".")...)
			continue
		}
		list = append(list, prefix+name)
	}
	return list
}

// ofModule says whether a struct is one of this module's: times and addresses are values.
func ofModule(x reflect.Type) bool { return strings.HasPrefix(x.PkgPath(), "evenkeel/") }

// TestDocsAPI: every request of both sockets is in the page.
func TestDocsAPI(t *testing.T) {
	request := regexp.MustCompile(`(?m)^//\t(GET|POST) +(/v1/[a-z/{}-]+)`)
	var wanted []string
	for _, path := range []string{"ha/control/api.go", "replication/control/control.go"} {
		for _, m := range request.FindAllStringSubmatch(readPage(t, path), -1) {
			wanted = append(wanted, "`"+m[1]+" "+m[2]+"`")
		}
	}
	missing(t, reference+"api.md", wanted)
}

// TestDocsExamples: what the pages show as TOML is accepted.
func TestDocsExamples(t *testing.T) {
	block := regexp.MustCompile("(?s)```toml\n(.*?)```")
	seen := 0
	for _, page := range []string{"docs/how-to/set-up-two-machines.md", reference + "configuration.md"} {
		for _, m := range block.FindAllStringSubmatch(readPage(t, page), -1) {
			seen++
			path := filepath.Join(t.TempDir(), "example.toml")
			if err := os.WriteFile(path, []byte(m[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			var err error
			if strings.Contains(m[1], "command =") {
				_, err = config.LoadCatalogue(filepath.Dir(path))
			} else {
				_, err = config.Load(path)
			}
			if err != nil {
				t.Errorf("%s: an example is refused: %v", page, err)
			}
		}
	}
	if seen < 3 {
		t.Errorf("only %d examples were found", seen)
	}
}

// TestDocsLinks: every link between files resolves, and every page can be reached from the index.
func TestDocsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	reached := map[string]bool{}
	pages := []string{"README.md", "docs/README.md"}
	for len(pages) > 0 {
		page := pages[0]
		pages = pages[1:]
		for _, m := range link.FindAllStringSubmatch(readPage(t, page), -1) {
			target := filepath.Join(filepath.Dir(page), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
				continue
			}
			if !reached[target] && filepath.Ext(target) == ".md" {
				pages = append(pages, target)
			}
			reached[target] = true
		}
	}
	err := filepath.WalkDir("docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !reached[path] {
			t.Errorf("no page leads to %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
