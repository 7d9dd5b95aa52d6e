package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// network is the type of cidr("10.0.0.0/8"), which contains addresses in text.
var network = cel.OpaqueType("cidr")

// networkValue is a value of it.
type networkValue struct{ netip.Prefix }

func newNetwork(s string) ref.Val {
	p, err := parsePrefix(s)
	if err != nil {
		return types.NewErr("cidr: %v", err)
	}
	return networkValue{p}
}

// holds tells whether an address is in n. What is no address is in none, as where the client is not known.
func (n networkValue) holds(ip string) ref.Val {
	a, err := netip.ParseAddr(ip)
	return types.Bool(err == nil && n.Contains(a.Unmap().WithZone("")))
}

// ConvertToNative implements ref.Val.
func (n networkValue) ConvertToNative(reflect.Type) (any, error) { return n.Prefix, nil }

// ConvertToType implements ref.Val.
func (n networkValue) ConvertToType(t ref.Type) ref.Val {
	if t.TypeName() == "string" {
		return types.String(n.String())
	}
	return types.NewErr("a cidr is no %s", t.TypeName())
}

// Equal implements ref.Val.
func (n networkValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(networkValue)
	return types.Bool(ok && o == n)
}

// Type implements ref.Val.
func (networkValue) Type() ref.Type { return network }

// Value implements ref.Val.
func (n networkValue) Value() any { return n.Prefix }

// scan goes through an expression that has passed the type checker: what is literal in it and would always fail is
// refused, and it is found out whether the rest can fail.
type scan struct {
	ast      *ast.AST
	reliable bool
	loops    bool
	errs     []error
}

// reliableFunctions do not fail when none of their operands is of a type that is not known before.
var reliableFunctions = []string{
	"_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in",
	"startsWith", "endsWith", "contains", "size", "matches", "cidr",
	"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
}

func (s *scan) expression(e ast.Expr) {
	switch e.Kind() {
	case ast.CallKind:
		s.call(e)
	case ast.SelectKind:
		if sel := e.AsSelect(); s.ast.ReferenceMap()[e.ID()] == nil { // no variable, but a key of a map
			s.reliable = s.reliable && sel.IsTestOnly() && s.kind(sel.Operand()) != types.DynKind
			s.expression(sel.Operand())
		}
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			s.expression(element)
		}
	case ast.LiteralKind, ast.IdentKind:
	case ast.ComprehensionKind:
		s.reliable, s.loops = false, true // it may cost too much
		c := e.AsComprehension()
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			s.expression(part)
		}
	case ast.MapKind:
		s.reliable = false
		for _, entry := range e.AsMap().Entries() {
			s.expression(entry.AsMapEntry().Key())
			s.expression(entry.AsMapEntry().Value())
		}
	default:
		s.reliable = false
	}
}

func (s *scan) call(e ast.Expr) {
	c := e.AsCall()
	operands := c.Args()
	if c.IsMemberFunction() {
		operands = append([]ast.Expr{c.Target()}, operands...)
	}
	for _, o := range operands {
		s.expression(o)
		s.reliable = s.reliable && s.kind(o) != types.DynKind
	}
	s.reliable = s.reliable && slices.Contains(reliableFunctions, c.FunctionName())
	bad := func(err error) {
		at := s.ast.SourceInfo().GetStartLocation(e.ID())
		s.errs = append(s.errs, &whenError{at.Line(), at.Column() + 1, err.Error()})
	}
	literal := func(i int) (string, bool) {
		if i >= len(operands) || operands[i].Kind() != ast.LiteralKind {
			return "", false
		}
		text, ok := operands[i].AsLiteral().(types.String)
		return string(text), ok
	}
	switch text, ok := literal(len(operands) - 1); c.FunctionName() {
	case "matches":
		if !ok {
			bad(fmt.Errorf("the expression of matches must be literal text"))
		} else if _, _, err := parseRegex(text); err != nil {
			bad(err)
		}
	case "cidr":
		s.reliable = s.reliable && ok
		if _, err := parsePrefix(text); ok && err != nil {
			bad(err)
		}
	case "@in":
		in := operands[len(operands)-1]
		s.reliable = s.reliable && (in.Kind() == ast.ListKind || s.kind(in) == types.MapKind)
	default:
		if isZoned := len(operands) == 2 && s.kind(operands[0]) == types.TimestampKind && s.kind(operands[1]) == types.StringKind; isZoned {
			s.reliable = s.reliable && ok
			if ok && !isZone(text) {
				bad(fmt.Errorf("unknown time zone %q", text))
			}
		}
	}
}

// kind is the kind of an expression's type.
func (s *scan) kind(e ast.Expr) types.Kind { return s.ast.GetType(e.ID()).Kind() }

// isZone tells whether CEL knows a time zone: a name, or an offset such as 02:00.
func isZone(s string) bool {
	if _, err := time.Parse("15:04", s); err == nil {
		return true
	}
	if len(s) > 1 && (s[0] == '-' || s[0] == '+') {
		_, err := time.Parse("15:04", s[1:])
		return err == nil
	}
	_, err := time.LoadLocation(s)
	return err == nil
}
