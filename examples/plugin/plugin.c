// A plugin of Customhouse in C, without a library of C. It does what ../plugin-go does: the account cicd has the password in the
// environment variable CICD_SECRET and the group CICD; the group may pull and push under ci/, others are not its concern.
//
//   clang --target=wasm32 -O2 -nostdlib -fno-builtin -Wl,--no-entry -Wl,--strip-all -o plugin.wasm plugin.c
//
// Questions are JSON without white space between its parts, with keys in the order of docs/programs.md. This reads as much of it
// as it needs: strings, and what stands behind a key at the depth where it belongs.

typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(#name)))
#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name)))

WASI(environ_sizes_get) int environ_sizes_get(u32 *count, u32 *bytes);
WASI(environ_get) int environ_get(char **names, char *text);

enum { MAX_QUESTION = 1 << 20, MAX_ENV = 4096 };
static char question[MAX_QUESTION];
static char env_text[MAX_ENV], *env[MAX_ENV / 2];

EXPORT(customhouse_abi) int abi(void) { return 1; }

// A question that is too long gets a place outside of memory, which is an error.
EXPORT(customhouse_alloc) char *alloc(u32 size) { return size < MAX_QUESTION ? question : (char *)-1; }

static u64 answer(const char *text) {
  u32 size = 0;
  while (text[size]) size++;
  return (u64)(u32)text << 32 | size;
}

// starts returns what stands behind prefix, 0 if text does not begin with it.
static const char *starts(const char *text, const char *prefix) {
  while (*prefix)
    if (*text++ != *prefix++) return 0;
  return text;
}

// skip returns what stands behind the value at p: a string, or an object or array with all that is in it.
static const char *skip(const char *p) {
  int depth = 0;
  do {
    if (*p == '"') {
      while (*++p && *p != '"')
        if (*p == '\\' && p[1]) p++;
      if (!*p) return p;
    } else if (*p == '{' || *p == '[') {
      depth++;
    } else if (*p == '}' || *p == ']') {
      depth--;
    } else if (!*p) {
      return p;
    }
    p++;
  } while (depth > 0);
  return p;
}

// member returns the value of a key of the object at p, 0 if it has none. The key comes with its quotes and colon.
static const char *member(const char *p, const char *key) {
  if (!p || *p != '{') return 0;
  p++;
  while (*p == '"') {
    const char *value = starts(p, key);
    if (value) return value;
    p = skip(p);
    if (*p++ != ':') return 0;
    p = *p == '"' || *p == '{' || *p == '[' ? skip(p) : p;
    while (*p && *p != ',' && *p != '}') p++; // a number
    if (*p == ',') p++;
  }
  return 0;
}

// contains tells whether the array of strings at p has one, which comes with its quotes.
static int contains(const char *p, const char *string) {
  if (!p || *p != '[') return 0;
  p++;
  while (*p == '"') {
    if (starts(p, string)) return 1;
    p = skip(p);
    if (*p == ',') p++;
  }
  return 0;
}

// is_secret compares the string at p with the environment variable that name= begins, in a time that tells nothing of where they
// differ. A secret with what JSON escapes is none that this understands.
static int is_secret(const char *p, const char *name) {
  u32 count, bytes;
  if (!p || *p++ != '"' || environ_sizes_get(&count, &bytes) || count >= MAX_ENV / 2 || bytes >= MAX_ENV) return 0;
  if (environ_get(env, env_text)) return 0;
  for (u32 i = 0; i < count; i++) {
    const char *secret = starts(env[i], name);
    if (!secret || !*secret) continue;
    int different = 0;
    for (; *secret; secret++) {
      different |= (*p ^ *secret) | (*p == '"'); // the password is shorter
      if (*p && *p != '"') p++;
    }
    return !different && *p == '"';
  }
  return 0;
}

EXPORT(customhouse_ask) u64 ask(char *text, u32 size) {
  text[size] = 0;
  const char *type = member(text, "\"type\":");
  if (!type) return answer("{\"result\":\"error\",\"reason\":\"the question cannot be read\"}");
  if (starts(type, "\"authenticate\"")) {
    const char *account = member(text, "\"account\":");
    if (account && starts(account, "\"cicd\"")) {
      if (is_secret(member(text, "\"password\":"), "CICD_SECRET="))
        return answer("{\"result\":\"allow\",\"labels\":{\"group\":[\"CICD\"]}}");
      return answer("{\"result\":\"deny\",\"reason\":\"wrong password\"}");
    }
  } else if (starts(type, "\"authorize\"")) {
    const char *resource = member(text, "\"resource\":");
    const char *kind = member(resource, "\"type\":"), *name = member(resource, "\"name\":");
    if (kind && starts(kind, "\"repository\"") && name && starts(name, "\"ci/") &&
        contains(member(member(text, "\"labels\":"), "\"group\":"), "\"CICD\""))
      return answer("{\"result\":\"allow\",\"actions\":[\"pull\",\"push\"],\"reason\":\"the group CICD builds here\"}");
  }
  return answer("{\"result\":\"no_match\"}");
}
