/*
 * The verb edit: commands from words and scripts. A script is divided into words much as a shell
 * does it, without any of its expansions; see hammer2(8).
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edit.h"

/* ---- a command from its words ---- */

static const struct edit_verb *find_verb(const char *name)
{
	for (const struct edit_verb *v = edit_verbs; v->name; v++) {
		if (strcmp(v->name, name) == 0)
			return v;
	}
	return NULL;
}

static bool fail_usage(struct edit *e, const struct edit_verb *v, const char *what)
{
	return edit_fail(e, NULL, "%s; usage: %s %s", what, v->name, v->arguments);
}

static bool parse_options(struct edit *e, struct edit_command *c)
{
	int letter;

	/* 0 makes glibc begin anew, with the order that it uses without POSIXLY_CORRECT. */
	optind = 0;
	opterr = 0;
	while ((letter = getopt(c->word_count, c->words, c->verb->options)) != -1) {
		char text[64];

		if (letter == '?') {
			snprintf(text, sizeof(text),
				 strchr(c->verb->options, optopt) ? "-%c needs a value"
								  : "there is no option -%c",
				 optopt);
			return fail_usage(e, c->verb, text);
		}
		c->options |= EDIT_HAS(letter);
		if (optarg)
			c->value = optarg;
	}
	c->argc = c->word_count - optind;
	c->argv = c->words + optind;
	if (c->argc < c->verb->args_min)
		return fail_usage(e, c->verb, "missing arguments");
	if (c->verb->args_max >= 0 && c->argc > c->verb->args_max)
		return fail_usage(e, c->verb, "too many arguments");
	return true;
}

static void command_fini(struct edit_command *c)
{
	for (int i = 0; i < c->word_count; i++)
		free(c->words[i]);
	free(c->words);
}

/* Takes the words over. */
static bool add_command(struct edit *e, struct edit_command *c, struct edit_commands *to)
{
	bool ok;

	c->verb = find_verb(c->words[0]);
	e->command = c;
	ok = c->verb ? parse_options(e, c) && (!c->verb->check || c->verb->check(e, c))
		     : edit_fail(e, NULL, "no such command; \"hammer2 edit --help\" lists them");
	e->command = NULL;
	if (!ok) {
		command_fini(c);
		return false;
	}
	if (to->count == to->room) {
		to->room = to->room ? 2 * to->room : 16;
		to->items = must_alloc(reallocarray(to->items, to->room, sizeof(*to->items)));
	}
	to->items[to->count++] = *c;
	return true;
}

static void add_word(struct edit_command *c, char *word)
{
	c->words = must_alloc(reallocarray(c->words, (size_t)c->word_count + 2, sizeof(char *)));
	c->words[c->word_count++] = word;
	c->words[c->word_count] = NULL;
}

bool edit_parse_words(struct edit *e, char **words, int count, unsigned line,
		      struct edit_commands *to)
{
	struct edit_command c = {.line = line};

	for (int i = 0; i < count; i++)
		add_word(&c, must_alloc(strdup(words[i])));
	return add_command(e, &c, to);
}

void edit_commands_fini(struct edit_commands *commands)
{
	for (size_t i = 0; i < commands->count; i++)
		command_fini(&commands->items[i]);
	free(commands->items);
	*commands = (struct edit_commands){0};
}

/* ---- words from a script ---- */

struct reader {
	const char *at, *end;
	unsigned line;
	char *word; /* that is being read: as long as the script is */
	size_t len;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static char next(struct reader *r)
{
	char c = *r->at++;

	r->line += c == '\n';
	return c;
}

static bool more(const struct reader *r)
{
	return r->at < r->end;
}

/* Pass over what stands between words; also a line end after a backslash. */
static void skip_blanks(struct reader *r)
{
	while (more(r)) {
		if (r->end - r->at >= 2 && r->at[0] == '\\' && r->at[1] == '\n')
			(void)next(r);
		else if (!blank(*r->at))
			break;
		(void)next(r);
	}
	if (more(r) && *r->at == '#') {
		while (more(r) && *r->at != '\n')
			(void)next(r);
	}
}

/* Read up to the closing quote. Returns false where there is none. */
static bool read_quoted(struct reader *r, char quote)
{
	while (more(r)) {
		char c = next(r);

		if (c == quote)
			return true;
		if (c == '\\' && quote == '"' && more(r) && strchr("\"\\\n", *r->at)) {
			c = next(r);
			if (c == '\n')
				continue;
		}
		r->word[r->len++] = c;
	}
	return false;
}

/* Read a word. Returns NULL or what is wrong with it. */
static const char *read_word(struct reader *r)
{
	r->len = 0;
	while (more(r) && !blank(*r->at) && *r->at != '\n') {
		char c = next(r);

		if (c == '\'' || c == '"') {
			if (!read_quoted(r, c))
				return "a quote is not closed";
			continue;
		}
		if (c == '\0')
			return "a zero byte: this is no text";
		if (c == '\\') {
			if (!more(r))
				return "nothing follows a backslash";
			c = next(r);
			if (c == '\n')
				continue;
		}
		r->word[r->len++] = c;
	}
	return memchr(r->word, '\0', r->len) ? "a zero byte: this is no text" : NULL;
}

/* Read one command's words. Returns NULL or what is wrong. */
static const char *read_words(struct reader *r, struct edit_command *c)
{
	for (skip_blanks(r); more(r) && *r->at != '\n'; skip_blanks(r)) {
		const char *wrong;

		if (c->word_count == 0)
			c->line = r->line;
		wrong = read_word(r);
		if (wrong)
			return wrong;
		add_word(c, must_alloc(strndup(r->word, r->len)));
	}
	return NULL;
}

bool edit_parse_script(struct edit *e, const char *text, size_t len, struct edit_commands *to)
{
	struct reader r = {.at = text, .end = text + len, .line = 1};
	bool ok = true;

	r.word = must_alloc(malloc(len + 1));
	while (more(&r)) {
		struct edit_command c = {.line = r.line};
		const char *wrong = read_words(&r, &c);

		if (wrong) {
			/* What follows may be part of it: the rest is not looked at. */
			e->command = &c;
			ok = edit_fail(e, NULL, "%s", wrong);
			e->command = NULL;
			command_fini(&c);
			break;
		}
		if (c.word_count > 0 && !add_command(e, &c, to))
			ok = false;
		if (more(&r))
			(void)next(&r);
	}
	free(r.word);
	return ok;
}
