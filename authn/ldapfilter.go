package authn

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// accountFilters find the entry of ${account}.
type accountFilters struct {
	login     string // of what a person typed
	lookup    string // of the name that the entry has: login with attribute in place of all that is compared
	attribute string // that holds the name
}

// checkGroupFilter tells what is wrong with a filter for the groups of an account.
func checkGroupFilter(filter string) error {
	if filter == "" {
		return nil
	}
	if _, err := ldap.CompileFilter(filter); err != nil {
		return errors.New("not an LDAP filter, such as (member=${dn})")
	}
	if len(placeholders(filter)) == 0 && !strings.Contains(filter, "${dn}") && !strings.Contains(filter, "${account}") {
		return errors.New("finds the same groups for everybody: want ${dn} or ${account} in it")
	}
	return nil
}

func parseAccountFilter(text, attribute string) (accountFilters, error) {
	p, err := ldap.CompileFilter(text)
	if err != nil {
		return accountFilters{}, errors.New("not an LDAP filter, such as (uid=${account})")
	}
	if !strings.Contains(text, "${account}") {
		return accountFilters{}, errors.New("finds the same entry for everybody: want ${account} in it")
	}
	if attribute == "" {
		compared := comparedAttributes(p)
		if len(compared) != 1 {
			return accountFilters{}, fmt.Errorf("compares %d attributes with ${account}: say which holds the name of the account", len(compared))
		}
		attribute = compared[0]
	}
	replaceComparisons(p, attribute)
	lookup, err := ldap.DecompileFilter(p)
	if err != nil {
		return accountFilters{}, err
	}
	return accountFilters{login: text, lookup: lookup, attribute: attribute}, nil
}

// comparedAttributes returns the attributes that a filter compares with just ${account}.
func comparedAttributes(p *ber.Packet) (names []string) {
	if p.Tag == ldap.FilterEqualityMatch && text(p.Children[1]) == "${account}" {
		return []string{text(p.Children[0])}
	}
	for _, child := range inner(p) {
		for _, name := range comparedAttributes(child) {
			if !slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(name, other) }) {
				names = append(names, name)
			}
		}
	}
	return names
}

// replaceComparisons makes every comparison with ${account} in a filter one of attribute.
func replaceComparisons(p *ber.Packet, attribute string) {
	for _, child := range inner(p) {
		replaceComparisons(child, attribute)
	}
	if len(inner(p)) > 0 || p.Tag == ldap.FilterPresent || !mentionsAccount(p) {
		return
	}
	equal, err := ldap.CompileFilter("(" + ldap.EscapeFilter(attribute) + "=${account})")
	if err == nil { // it is: an attribute's name and a value
		*p = *equal
	}
}

func mentionsAccount(p *ber.Packet) bool {
	return p.Data != nil && strings.Contains(p.Data.String(), "${account}") || slices.ContainsFunc(p.Children, mentionsAccount)
}

// inner returns the filters within a filter.
func inner(p *ber.Packet) []*ber.Packet {
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		return p.Children
	}
	return nil
}

func text(p *ber.Packet) string { return ber.DecodeString(p.Data.Bytes()) }

// expand replaces placeholders in a filter by values, which come behind them in pairs and are text whatever is in them
// (RFC 4515, section 3).
func expand(filter string, pairs ...string) string {
	escaped := slices.Clone(pairs)
	for i := 1; i < len(escaped); i += 2 {
		escaped[i] = ldap.EscapeFilter(escaped[i])
	}
	return strings.NewReplacer(escaped...).Replace(filter)
}

// placeholders returns the attributes whose values a filter asks for: x for each ${x} but ${dn} and ${account}.
func placeholders(filter string) (names []string) {
	for {
		_, rest, ok := strings.Cut(filter, "${")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return names
		}
		if name != "dn" && name != "account" {
			names = append(names, name)
		}
		filter = after
	}
}
