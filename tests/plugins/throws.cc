// A plug-in in C++ that catches what it throws, and on the request "throw" does not.
#include "sockd-plugin.h"

#include <stdexcept>
#include <string>

static const sockd_host *host;

static int init(const sockd_host *h, sockd_service *, const char *, void **)
{
    host = h;
    return 0;
}

static void handle(void *, sockd_request *request)
{
    size_t len;
    const char *data = host->data(request, &len);
    std::string text(data, len);

    try {
        throw std::runtime_error("caught " + text);
    } catch (const std::exception &e) {
        if (text == "throw")
            throw;
        text = e.what();
    }
    host->reply(request, text.data(), text.size());
}

extern "C" {
extern const sockd_plugin sockd_plugin;
const struct sockd_plugin sockd_plugin = {
    sizeof(struct sockd_plugin), SOCKD_PLUGIN_ABI, "throws", init, handle, nullptr, nullptr,
};
}
