// Package templates holds the console's pages as templ components, and the views that they show. A view is plain text that is
// ready to be shown: components decide how things look, not what they mean. The package imports nothing of the house.
//
// No component uses an inline script, an inline style or an event attribute: the content security policy forbids them.
package templates

import "strings"

// Kinds of State. A state is always shown as glyph, word and colour together.
const (
	OK       = "ok"
	Info     = "info"
	Warning  = "warning"
	Critical = "critical"
	Unknown  = "unknown"
	Quiet    = "quiet" // neither good nor bad: a step that waits
)

// State is how something is: a kind and a word for it.
type State struct {
	Kind string // OK, Info, Warning, Critical, Unknown
	Word string
}

// Glyph is the shape that belongs to the kind, so that a state reads without colour too.
func (s State) Glyph() string {
	switch s.Kind {
	case OK:
		return "✓"
	case Info:
		return "i"
	case Warning:
		return "▲"
	case Critical:
		return "✕"
	case Quiet:
		return "·"
	}
	return "?"
}

// Assets are the addresses of the static files, with the hash of their content.
type Assets struct {
	Style, Script, Icon string
}

// Frame is what is around every page.
type Frame struct {
	Title   string // of the page, without the product's name
	Path    string // of the page, to mark it in the navigation
	Assets  Assets
	User    string // "" = nobody is signed in: no navigation
	Bar     Bar
	Notice  *Notice
	Live    string // address of the live stream; "" = nothing on the page is live
	Refresh int    // seconds after which a browser without JavaScript loads the page again; 0 = never
	// Problems stand on top of a form that was not accepted; the title says "Error:" then.
	Problems []Problem
	Refused  string // heads Problems; "" = that nothing was saved
}

// Bar is the top bar: what the administrator must know on every page.
type Bar struct {
	Node    string // this node, e.g. "a"
	Host    string
	Chips   []Chip // one per node, configured master first
	Worst   State
	Alarm   string // where Worst leads to
	Armed   State
	Pending string // what is not in force yet; "" = nothing
	Age     string // "as of 2 s ago"
	Stale   bool   // older than three intervals
	PeerURL string // the other node's console; "" = not known
	Peer    string
}

// Chip is one node in the top bar.
type Chip struct {
	Node  string
	Role  string // running role
	Here  bool   // the node that answers
	State State
	Age   string
}

// Notice is one sentence about what the last action did.
type Notice struct {
	State State
	Text  string
}

// Problem is one line of the summary on top of a form; Href leads to the field.
type Problem struct {
	Href, Text string
}

// Group is one group of the navigation.
type Group struct {
	Title string
	Links []Link
}

// Link is one entry of the navigation.
type Link struct {
	Path, Title string
}

// Navigation lists the pages, with the seed's words.
var Navigation = []Group{{Title: "High Availability", Links: []Link{
	{"/ha/status", "Status"},
	{"/ha/general", "General"},
	{"/ha/heartbeat", "Heartbeat"},
	{"/ha/replication", "Disk Replication"},
	{"/ha/addresses", "Virtual IP Addresses"},
	{"/ha/services", "Services"},
	{"/ha/logs", "Logs"},
	{"/ha/tools", "Tools"},
}}}

// Table is a table of live values; ID makes it a fragment of its own.
type Table struct {
	ID      string
	Caption string
	Head    []string
	Rows    [][]Cell
	Empty   string // the sentence that stands there when no row does
}

// Cell is one value; State, if its Kind is set, stands before the text.
type Cell struct {
	State  State
	Text   string
	Mono   bool
	Number bool
}

// FormPage is a page of settings.
type FormPage struct {
	Frame     Frame
	Intro     string
	Base      string // revision that the form was rendered from
	Conflict  *Conflict
	Sections  []Section
	Live      []Table // tables of live state below the form
	Unsaved   bool    // rows were added or removed and not saved yet
	UpdatedBy string  // "revision 7, saved by admin at ..."
}

// Conflict says that somebody else saved meanwhile.
type Conflict struct {
	Text string
	Rows []Difference
}

// Difference is one field with both values.
type Difference struct {
	Label, Yours, Theirs string
}

// Section is a group of fields, or a list of items that can be added and removed.
type Section struct {
	ID, Title, Help string
	Error           string
	Rows            []Row
	List            bool
	Items           []Item
	Add, AddLabel   string // value and label of the button that adds an item
	Empty           string
}

// Item is one element of a list.
type Item struct {
	Title  string
	Rows   []Row
	Remove string // value of the button that removes it
}

// Row holds one field, or two side by side: master left, slave right.
type Row struct {
	Fields []Field
}

// Kinds of Field.
const (
	TextField   = "text"
	NumberField = "number"
	CheckField  = "check"
	SelectField = "select"
	AreaField   = "area"
)

// Field is one input with its label, unit, help and error.
type Field struct {
	Kind, Name, Label, Value string
	Options                  []Option
	Unit, Help, Error        string
	Mono                     bool
	Placeholder              string
}

// Option is one choice of a select.
type Option struct {
	Value, Label string
}

// ID is the field's id in the page: its name with - for what an id may not hold.
func (f Field) ID() string { return FieldID(f.Name) }

// FieldID turns a field's name into its id.
func FieldID(name string) string {
	return "f-" + strings.NewReplacer("[", "-", "]", "", ".", "-", "_", "-").Replace(name)
}

// Checked says whether a check box is on.
func (f Field) Checked() bool { return f.Value == "on" }

// Describes lists the ids of what belongs to the field, for aria-describedby.
func (f Field) Describes() string {
	var ids []string
	if f.Help != "" {
		ids = append(ids, f.ID()+"-help")
	}
	if f.Error != "" {
		ids = append(ids, f.ID()+"-error")
	}
	return strings.Join(ids, " ")
}

// StatusPage is the page Status.
type StatusPage struct {
	Frame Frame
	Parts StatusParts
}

// StatusParts are the live parts of Status.
type StatusParts struct {
	Stale      bool
	Sentence   State // kind and sentence
	Wide, Tall Drawing
	Conditions []Condition
	Takeover   Takeover
	Why        Why
	Procedure  *Procedure
	Tables     []Table
	Events     Table
}

// Condition is one condition in force.
type Condition struct {
	State           State
	Code, Side      string
	Text, Remedy    string
	Since           string
	Link, LinkLabel string // where the remedy is; "" = nowhere in the console
}

// Takeover answers "Can the other node take over now?".
type Takeover struct {
	Title    string
	State    State
	Text     string
	Blockers []Blocker
	// Link is where a person can decide, if the pair waits for one.
	Link, LinkLabel string
}

// Blocker is one reason why not.
type Blocker struct {
	Code, Text string
}

// Why says why this node is what it is.
type Why struct {
	Sentence       string
	Reasons        []string
	Rungs, Remains []string
}

// Procedure is a promotion or demotion, step by step.
type Procedure struct {
	Title string
	State State
	Steps []Step
}

// Step is one step of a procedure or of a dry run.
type Step struct {
	State State
	Code  string // the engine's name of it
	Name  string
	Time  string
	Error string
}

// LogsPage is the page Logs.
type LogsPage struct {
	Frame    Frame
	Tabs     []Tab
	Log      string
	Node     string
	Nodes    []Option
	Severity string
	Text     string
	Follow   bool
	Toggle   string // address that turns follow on or off
	List     LogList
}

// LogList is the live part of Logs.
type LogList struct {
	Problem string // the other node's part that could not be read
	Events  []LogEvent
	Count   string
}

// Tab is one tab.
type Tab struct {
	Href, Title string
	Here        bool
}

// LogEvent is one line of the log.
type LogEvent struct {
	At, Full   string // time of day; and the whole time for the machine
	Node       string
	State      State
	Code, Text string
	Epoch      string
	Consequent bool // it has a cause in this list: indented
}

// ToolsPage is the page Tools.
type ToolsPage struct {
	Frame    Frame
	Sections []ToolSection
}

// ToolSection is a group of tools.
type ToolSection struct {
	ID, Title, Help string
	Tools           []Tool
}

// Tool is one thing that can be done. With Href it is a link to its confirmation page, else a form that posts Value to Action.
type Tool struct {
	ID, Title, Help string
	Href            string
	Action, Value   string
	Button          string
	Danger          bool
	Primary         bool
	Disabled        string // why it cannot be done now
}

// ConfirmPage is the page before an action: what will happen, and the button.
type ConfirmPage struct {
	Frame    Frame
	Lead     string
	State    State // may it be done
	Blockers []Blocker
	Steps    []Step
	Gap      string // expected interruption
	Facts    []Table
	Warning  string // what cannot be undone
	Action   string
	Hidden   []Hidden
	Choice   *Field // which node's data go, for instance
	Confirm  *Field // a name to type
	Button   string // "" = cannot be done: no form
	Danger   bool
	Alone    string // a second way under this one, e.g. by force
	AloneURL string
}

// Hidden is a hidden field.
type Hidden struct {
	Name, Value string
}

// SignInPage asks for name and password.
type SignInPage struct {
	Frame Frame
	Host  string
	Name  string
	Next  string // where to go afterwards
	Kept  string // a form that was posted to Next without a session, encoded; "" = none
	Error string
}

// ErrorPage shows one error.
type ErrorPage struct {
	Frame  Frame
	Status int
	Text   string
}

// Drawing is the pair with its links, ready to be drawn: all coordinates are in units of the view box.
type Drawing struct {
	Width, Height int
	Tall          bool
	Title         string // the drawing in one sentence, for who cannot see it
	Plates        []Plate
	Lines         []Line
}

// Plate is one node.
type Plate struct {
	X, Y, W, H int
	Name       string
	Configured string
	Role       string
	State      State
	Note       string
	Tags       []Tag
}

// Tag is a virtual address that sits on the plate of its holder.
type Tag struct {
	X, Y, W int
	Text    string
}

// Line is a link, or with Arrow set a volume in the direction of its data.
type Line struct {
	X1, Y1, X2, Y2 int
	TextX, TextY   int
	State          State
	Name, Detail   string
	Volume         bool
	Arrow          string // points of the arrow's head; "" = none
	Dashed         bool
	Middle         bool // the text is centred
}
