package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds on expressions. The unit of cost is CEL's; a hundred thousand of them take some ten milliseconds.
const (
	maxWhen     = 4096    // bytes of an expression
	maxWhenCost = 100_000 // of one evaluation, and of what it is expected to cost
	maxOfFact   = 32      // what an expression's cost is reckoned with: characters of a text, elements of a list or a map
	maxFailure  = 200     // bytes of why one fails that are told
)

// variables are what expressions know, all of them typed, so that a misspelt one is found when rules are loaded.
var variables = [...]struct {
	name string
	kind *cel.Type
	fact Fact // what has to be known of the target
}{
	{"identity.account", cel.StringType, 0},
	{"identity.method", cel.StringType, 0},
	{"identity.labels", cel.MapType(cel.StringType, cel.ListType(cel.StringType)), 0},
	{"identity.claims", cel.MapType(cel.StringType, cel.DynType), 0},
	{"request.action", cel.StringType, 0},
	{"request.service", cel.StringType, 0},
	{"request.ip", cel.StringType, 0},
	{"request.time", cel.TimestampType, factTime},
	{"target.type", cel.StringType, 0},
	{"target.name", cel.StringType, 0},
	{"target.tag", cel.StringType, FactTag},
	{"target.digest", cel.StringType, FactDigest},
	{"target.mediaType", cel.StringType, FactMediaType},
	{"target.artifactType", cel.StringType, FactArtifactType},
}

// expression is a compiled "when". It is evaluated when every other condition of its rule holds.
type expression struct {
	written  string
	program  cel.Program
	facts    Fact
	names    []string // of the variables in it
	reliable bool     // it cannot fail, whatever the facts are
}

// mentions tells whether one of the variables of e begins with prefix.
func (e *expression) mentions(prefix string) bool {
	return slices.ContainsFunc(e.names, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// language compiles expressions, each text once.
type language struct {
	env      *cel.Env
	compiled map[string]*expression
	failed   map[string][]error
}

// compile returns the expression of a text, or all that is wrong with it.
func (l *language) compile(text string) (*expression, []error) {
	if e, ok := l.compiled[text]; ok {
		return e, l.failed[text]
	}
	if l.env == nil {
		env, err := newEnv()
		if err != nil {
			return nil, []error{err}
		}
		*l = language{env, map[string]*expression{}, map[string][]error{}}
	}
	e, errs := l.build(text)
	l.compiled[text], l.failed[text] = e, errs
	return e, errs
}

func newEnv() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxWhen), cel.ParserRecursionLimit(64), cel.RegexProgramSizeLimit(10 * maxRegexSize),
		cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true),
		cel.Function("cidr", cel.Overload("cidr_string", []*cel.Type{cel.StringType}, network,
			cel.UnaryBinding(func(s ref.Val) ref.Val { return newNetwork(string(s.(types.String))) }))),
		cel.Function("contains", cel.MemberOverload("cidr_contains_string", []*cel.Type{network, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(func(n, ip ref.Val) ref.Val { return n.(networkValue).holds(string(ip.(types.String))) }))),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	return cel.NewEnv(options...)
}

func (l *language) build(text string) (*expression, []error) {
	if len(text) > maxWhen {
		return nil, []error{fmt.Errorf("longer than %d bytes", maxWhen)}
	}
	checked, issues := l.env.Compile(text)
	if issues.Err() != nil {
		var errs []error
		for _, e := range issues.Errors() {
			errs = append(errs, &whenError{e.Location.Line(), e.Location.Column() + 1, plainly(e.Message, textAt(text, e.Location.Line(), e.Location.Column()))})
		}
		return nil, errs
	}
	if checked.OutputType() != cel.BoolType {
		return nil, []error{fmt.Errorf("is %s, and has to be true or false", checked.OutputType())}
	}
	e := &expression{written: text}
	for _, r := range checked.NativeRep().ReferenceMap() {
		for _, v := range variables {
			if r.Name == v.name && !slices.Contains(e.names, v.name) {
				e.names = append(e.names, v.name)
				e.facts |= v.fact
			}
		}
	}
	s := scan{ast: checked.NativeRep(), reliable: true}
	s.expression(checked.NativeRep().Expr())
	if len(s.errs) > 0 {
		return nil, s.errs
	}
	e.reliable = s.reliable
	expected, err := l.env.EstimateCost(checked, estimator{})
	if err != nil {
		return nil, []error{err}
	}
	if expected.Max > maxWhenCost {
		return nil, []error{errors.New("may take too long: it has too many lists within lists")}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if s.loops { // what has no loop takes no longer than it is long, and reckoning takes twice as long as that
		options = append(options, cel.CostLimit(maxWhenCost), cel.CostTracking(conversions{}))
	}
	if e.program, err = l.env.Program(checked, options...); err != nil {
		return nil, []error{err}
	}
	return e, nil
}

// whenError is a mistake in an expression.
type whenError struct {
	line, column int // within the expression, from 1
	message      string
}

func (e *whenError) Error() string { return e.message }

// textAt is what stands at a place of an expression, to the end of the line. Columns are characters.
func textAt(text string, line, column int) string {
	for ; line > 1; line-- {
		_, text, _ = strings.Cut(text, "\n")
	}
	text, _, _ = strings.Cut(text, "\n")
	runes := []rune(text)
	return string(runes[min(max(column, 0), len(runes)):])
}

// plainly is a message of CEL's type checker about what begins with at, in words that help.
func plainly(message, at string) string {
	name, ok := strings.CutPrefix(message, "undeclared reference to '")
	if !ok {
		return message
	}
	name, _, _ = strings.Cut(name, "'")
	whose, _, _ := strings.Cut(name, ".")
	member := regexp.MustCompile(`^\s*\.\s*(\w+)`)
	if m := member.FindStringSubmatch(strings.TrimPrefix(at, name)); m != nil && whose == name { // CEL may speak of what it is a member of
		name += "." + m[1]
	}
	var have, all []string
	for _, v := range variables {
		if all = append(all, v.name); strings.HasPrefix(v.name, whose+".") {
			have = append(have, v.name)
		}
	}
	if have == nil {
		have = all
	}
	return fmt.Sprintf("unknown name %s; there are %s", name, strings.Join(have, ", "))
}

// estimator tells how large facts are expected to be.
type estimator struct{}

func (estimator) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

func (estimator) EstimateSize(element cost.AstNode) *cost.SizeEstimate {
	if element.ComputedSize() != nil {
		return nil
	}
	return &cost.SizeEstimate{Max: maxOfFact}
}

// conversions are calls that CEL takes to cost the same however long the text is that they read, or that is in what they
// say went wrong.
type conversions struct{}

// CallCost returns the cost of a call; nil is what CEL says.
func (conversions) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	length := 0
	for _, a := range args {
		if s, ok := a.(types.String); ok {
			length += len(s)
		}
	}
	switch function {
	case "int", "uint", "double", "bool", "bytes", "string", "timestamp", "duration", "cidr":
	case "contains", "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds":
		length += 64 // a time zone is looked up
	default:
		return nil
	}
	return new(uint64(1 + length/4))
}

// outcome is whether a rule matches, and whether its expression fails: where it does, nobody is let in.
type outcome struct {
	matches, fails truth
	err            error
}

// evaluate evaluates e for q, of whose rule the other conditions hold, or may.
func (e *expression) evaluate(q *Query, others truth) outcome {
	v, _, err := e.program.Eval(&facts{*q})
	switch {
	case err != nil:
		if text := err.Error(); len(text) > maxFailure {
			err = errors.New(strings.ToValidUTF8(text[:maxFailure], "") + "...")
		}
		return outcome{fails: others, err: err}
	case types.IsUnknown(v):
		o := outcome{matches: maybe, fails: maybe}
		if e.reliable {
			o.fails = no
		}
		return o
	case v == types.True:
		return outcome{matches: others}
	}
	return outcome{}
}

// facts are the variables of an expression, as a query has them.
type facts struct{ query Query }

// ResolveName returns the value of a variable.
func (f *facts) ResolveName(name string) (any, bool) {
	q := &f.query
	unknown := func(fact Fact, value string) any {
		if q.Target.Known&fact == 0 {
			return types.NewUnknown(0, nil)
		}
		return types.String(value)
	}
	switch name {
	case "identity.account":
		return types.String(q.Identity.Account), true
	case "identity.method":
		return types.String(q.Identity.Method), true
	case "identity.labels":
		return q.Identity.Labels, true
	case "identity.claims":
		return types.DefaultTypeAdapter.NativeToValue(q.Identity.Claims), true
	case "request.action":
		return types.String(q.Action), true
	case "request.service":
		return types.String(q.Service), true
	case "request.ip":
		if !q.Client.IsValid() {
			return types.String(""), true
		}
		return types.String(q.Client.String()), true
	case "request.time":
		if q.Time.IsZero() {
			return types.NewUnknown(0, nil), true
		}
		return types.Timestamp{Time: q.Time}, true
	case "target.type":
		return types.String(q.Type), true
	case "target.name":
		return types.String(q.Name), true
	case "target.tag":
		return unknown(FactTag, q.Target.Tag), true
	case "target.digest":
		return unknown(FactDigest, q.Target.Digest), true
	case "target.mediaType":
		return unknown(FactMediaType, q.Target.MediaType), true
	case "target.artifactType":
		return unknown(FactArtifactType, q.Target.ArtifactType), true
	}
	return nil, false
}

// Parent is no other activation.
func (*facts) Parent() cel.Activation { return nil }
