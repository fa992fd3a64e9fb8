// The compiler's food: templates of <regex>, containers and algorithms.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <unordered_map>
#include <vector>

struct Rule {
    std::regex pattern;
    std::function<std::string(const std::smatch &)> action;
};

class Lexer {
    std::vector<Rule> rules;
    std::unordered_map<std::string, std::vector<std::string>> seen;

public:
    void add(const std::string &pattern, std::function<std::string(const std::smatch &)> action) {
        rules.push_back({std::regex(pattern, std::regex::ECMAScript | std::regex::icase), std::move(action)});
    }

    std::string run(const std::string &text) {
        std::string out;
        for (const auto &rule : rules)
            for (std::sregex_iterator at(text.begin(), text.end(), rule.pattern), end; at != end; ++at) {
                auto word = rule.action(*at);
                seen[word].push_back(at->str());
                out += word;
            }
        return out;
    }

    std::multimap<size_t, std::string> by_count() const {
        std::multimap<size_t, std::string> sorted;
        for (const auto &[word, places] : seen)
            sorted.emplace(places.size(), word);
        return sorted;
    }
};

int main() {
    Lexer lexer;
    lexer.add("[a-z_][a-z0-9_]*", [](const std::smatch &m) { return "name:" + m.str(); });
    lexer.add("[0-9]+(\\.[0-9]+)?", [](const std::smatch &m) { return "number:" + m.str(); });
    std::wregex wide(L"(\\w+)@(\\w+)\\.com");
    std::wstring mail = std::regex_replace(std::wstring(L"a@b.com"), wide, L"$2");
    std::string line;
    while (std::getline(std::cin, line))
        std::cout << lexer.run(line) << mail.size() << '\n';
    for (const auto &[count, word] : lexer.by_count())
        std::cout << count << ' ' << word << '\n';
}
